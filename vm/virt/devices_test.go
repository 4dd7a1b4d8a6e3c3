package virt

import (
	"errors"
	"testing"
	"time"

	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
)

// line records the level of an interrupt line.
type line struct{ level bool }

func (l *line) set(level bool) { l.level = level }

func load32(t *testing.T, d vm.MMIO, off uint64) uint32 {
	t.Helper()
	v, err := d.ReadMMIO(off, 4)
	if err != nil {
		t.Fatalf("read of %#x: %v", off, err)
	}
	return uint32(v)
}

func store32(t *testing.T, d vm.MMIO, off uint64, v uint32) {
	t.Helper()
	if err := d.WriteMMIO(off, 4, uint64(v)); err != nil {
		t.Fatalf("write of %#x: %v", off, err)
	}
}

// transfer saves one device and loads another with its state, through the stream's bytes.
func transfer(t *testing.T, from, to vm.Device) {
	t.Helper()
	for i, s := range from.States() {
		state, err := s.Save()
		if err != nil {
			t.Fatal(err)
		}
		name, version := s.Section().Name, s.Section().Version
		p, err := vmstate.Marshal(name, version, state)
		if err != nil {
			t.Fatal(err)
		}
		into := to.States()[i]
		decoded := into.New()
		if err := vmstate.Unmarshal(p, name, version, decoded); err != nil {
			t.Fatal(err)
		}
		if err := into.Check(decoded, version); err != nil {
			t.Fatal(err)
		}
		if err := into.Load(decoded, version); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMTimer(t *testing.T) {
	var mtip line
	clock := vm.NewInstructionClock(0)
	m := newMTimer(clock, mtip.set)
	m.Reset()
	if !mtip.level {
		t.Error("mtimecmp is 0 after a reset, but MTIP is low")
	}
	clock.Set(1000 * timeUnit)
	if got := load32(t, m, mtimeReg); got != 1000 || m.Time() != 1000 {
		t.Errorf("mtime is %d, the time CSR %d", got, m.Time())
	}
	if err := m.WriteMMIO(mtimecmpBase, 8, 1001); err != nil || mtip.level {
		t.Errorf("MTIP %v before its time, %v", mtip.level, err)
	}
	if at, armed := m.timer.Armed(); !armed || at != 1001*timeUnit {
		t.Errorf("armed %v for %v", armed, at)
	}
	store32(t, m, mtimecmpBase, 1000)
	if !mtip.level {
		t.Error("MTIP is low at its time")
	}
	store32(t, m, mtimecmpBase+4, 1)
	if mtip.level || load32(t, m, mtimecmpBase) != 1000 || load32(t, m, mtimecmpBase+4) != 1 {
		t.Errorf("after a write of the high half: MTIP %v, %#x", mtip.level, m.timecmp)
	}
	if err := m.WriteMMIO(mtimecmpBase, 8, ^uint64(0)); err != nil {
		t.Fatal(err)
	}
	if _, armed := m.timer.Armed(); armed {
		t.Error("a timer for the end of time is armed")
	}
	if err := m.WriteMMIO(mtimeReg, 8, 5); err != nil || m.Time() != 5 {
		t.Errorf("mtime written: %d, %v", m.Time(), err)
	}
	for _, size := range []int{1, 2} {
		if _, err := m.ReadMMIO(mtimeReg, size); !errors.Is(err, errAccess) {
			t.Errorf("read of %d bytes: %v", size, err)
		}
	}
	if load32(t, m, 0x100) != 0 {
		t.Error("a hart that is not there has a timer")
	}
}

// TestMTimerIsArmedAgain: what QEMU 7.2 forgets when it loads.
func TestMTimerIsArmedAgain(t *testing.T) {
	var a, b line
	clock := vm.NewInstructionClock(0)
	saved, loaded := newMTimer(clock, a.set), newMTimer(clock, b.set)
	if err := saved.WriteMMIO(mtimecmpBase, 8, 70); err != nil {
		t.Fatal(err)
	}
	if err := saved.WriteMMIO(mtimeReg, 8, 20); err != nil {
		t.Fatal(err)
	}
	transfer(t, saved, loaded)
	if at, armed := loaded.timer.Armed(); !armed || at != 50*timeUnit || loaded.Time() != 20 {
		t.Errorf("armed %v for %v, mtime %d", armed, at, loaded.Time())
	}
}

func TestSoftwareInterrupt(t *testing.T) {
	var msip line
	s := &swi{line: msip.set, pending: func() bool { return msip.level }}
	for _, step := range []struct {
		off  uint64
		v    uint32
		want bool
	}{{0, 1, true}, {4, 0, true}, {0, 2, false}, {0, 0xffffffff, true}, {4, 1, true}, {0, 0, false}} {
		store32(t, s, step.off, step.v)
		if msip.level != step.want || load32(t, s, 0) != map[bool]uint32{true: 1}[step.want] {
			t.Errorf("after %#x to %#x: MSIP %v", step.v, step.off, msip.level)
		}
	}
	if _, err := s.ReadMMIO(0, 8); !errors.Is(err, errAccess) {
		t.Error(err)
	}
}

func TestMSIPSurvives(t *testing.T) {
	boards := [2]*Board{}
	for i := range boards {
		b, err := New(Config{RAM: 16 << 20})
		if err != nil {
			t.Fatal(err)
		}
		boards[i] = b
	}
	if err := boards[0].Machine().Memory().Store(swiBase, 4, 1); err != nil {
		t.Fatal(err)
	}
	transfer(t, stateful{boards[0].Hart().States()}, stateful{boards[1].Hart().States()})
	if v, err := boards[1].Machine().Memory().Load(swiBase, 4); v != 1 || err != nil {
		t.Errorf("msip is %d, %v", v, err)
	}
}

// stateful lets transfer take a processor.
type stateful struct{ states []vm.State }

func (s stateful) Name() string       { return "" }
func (s stateful) Reset()             {}
func (s stateful) States() []vm.State { return s.states }

func TestFinisher(t *testing.T) {
	for _, test := range []struct {
		name string
		v    uint32
		code int
	}{{"pass", 0x5555, 0}, {"fail with a code", 0x3333 | 7<<16, 7}, {"fail", 0x3333, 0}} {
		m := vm.New(vm.Config{})
		f := &finisher{machine: m}
		store32(t, f, 4, test.v)
		store32(t, f, 0, 0x1234)
		store32(t, f, 0, test.v)
		var quit *vm.QuitError
		if err := m.Run(t.Context()); !errors.As(err, &quit) || quit.Code != test.code || quit.Reason != vm.ReasonGuestShutdown {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestFinisherResets(t *testing.T) {
	m := vm.New(vm.Config{})
	m.OnReset(func() { m.Quit(0, vm.ReasonHostQuit) })
	store32(t, &finisher{machine: m}, 0, 0x7777)
	var quit *vm.QuitError
	if err := m.Run(t.Context()); !errors.As(err, &quit) || quit.Reason != vm.ReasonHostQuit {
		t.Error(err)
	}
}

func TestRTC(t *testing.T) {
	clock := vm.NewInstructionClock(0)
	base := time.Date(2001, 2, 3, 4, 5, 6, 7, time.UTC)
	var irq line
	r := newRTC(clock, irq.set, RTC{Base: base, Virtual: true})
	read := func() int64 {
		low := load32(t, r, rtcTimeLow)
		return int64(load32(t, r, rtcTimeHigh))<<32 | int64(low)
	}
	if got := read(); got != base.UnixNano() {
		t.Errorf("it is %v", time.Unix(0, got).UTC())
	}
	clock.Set(time.Second)
	if got := read(); got != base.UnixNano()+1e9 {
		t.Errorf("a second later it is %v", time.Unix(0, got).UTC())
	}
	store32(t, r, rtcTimeHigh, 1)
	store32(t, r, rtcTimeLow, 500)
	if got := read(); got != 1<<32+500 {
		t.Errorf("set: %d", got)
	}
	// An alarm 100 ns ahead; then one in the past.
	store32(t, r, rtcIRQEnabled, 1)
	store32(t, r, rtcAlarmHigh, 1)
	store32(t, r, rtcAlarmLow, 600)
	if at, armed := r.alarm.Armed(); !armed || at != time.Second+100 || load32(t, r, rtcAlarmStatus) != 1 || irq.level {
		t.Errorf("armed %v for %v, status %d, line %v", armed, at, load32(t, r, rtcAlarmStatus), irq.level)
	}
	if load32(t, r, rtcAlarmLow) != 600 || load32(t, r, rtcAlarmHigh) != 1 {
		t.Error("the alarm reads otherwise")
	}
	other := newRTC(clock, irq.set, RTC{Base: base, Virtual: true})
	transfer(t, r, other)
	if at, armed := other.alarm.Armed(); !armed || at != time.Second+100 || other.now() != r.now() {
		t.Errorf("loaded: armed %v for %v", armed, at)
	}
	store32(t, r, rtcClearAlarm, 1)
	if _, armed := r.alarm.Armed(); armed {
		t.Error("the alarm is still armed")
	}
	store32(t, r, rtcAlarmLow, 1)
	if !irq.level || load32(t, r, rtcAlarmStatus) != 0 {
		t.Errorf("an alarm in the past: line %v, status %d", irq.level, load32(t, r, rtcAlarmStatus))
	}
	store32(t, r, rtcClearInterrupt, 1)
	if irq.level {
		t.Error("the line stays high")
	}
}

func TestRTCShowsTheHostsTime(t *testing.T) {
	var irq line
	r := newRTC(vm.NewHostClock(), irq.set, RTC{})
	before := time.Now().UnixNano()
	if now := int64(r.now()); now < before || now > time.Now().UnixNano() {
		t.Errorf("it is %v", time.Unix(0, now))
	}
	if s, _ := (rtcState{r}).Save(); s.(*rtcFields).TickOffset != 0 {
		t.Errorf("difference to the host's time: %d", s.(*rtcFields).TickOffset)
	}
}
