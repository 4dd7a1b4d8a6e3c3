package virt

import (
	"time"

	"github.com/qmon/qmon/vm"
)

// Registers of the goldfish RTC. Reading the low half of the time latches the high one;
// writing the low half of time or alarm takes the high one written before.
const (
	rtcTimeLow        = 0x00
	rtcTimeHigh       = 0x04
	rtcAlarmLow       = 0x08
	rtcAlarmHigh      = 0x0c
	rtcIRQEnabled     = 0x10
	rtcClearAlarm     = 0x14
	rtcAlarmStatus    = 0x18
	rtcClearInterrupt = 0x1c
)

// RTC says what the real-time clock shows: -rtc.
type RTC struct {
	Base    time.Time // at power-on; zero for the host's time
	Virtual bool      // goes with the machine's clock instead of the host's
}

// rtc is a goldfish RTC: nanoseconds since 1970, and an alarm.
type rtc struct {
	line  vm.IRQ
	clock *vm.Clock
	alarm *vm.Timer
	// virtual: the time counted from is the machine's clock, else the host's.
	virtual bool

	offset     int64 // the RTC's time less the time counted from
	alarmNext  uint64
	armed      bool
	pending    bool
	enabled    bool
	timeHigh   uint32 // latched, or written
	alarmHigh  uint32
	powerOnOff int64 // offset at power-on
}

var (
	_ vm.Device    = (*rtc)(nil)
	_ vm.MMIO      = (*rtc)(nil)
	_ vm.Described = (*rtc)(nil)
)

func newRTC(clock *vm.Clock, line vm.IRQ, config RTC) *rtc {
	r := &rtc{clock: clock, line: line, virtual: config.Virtual}
	r.alarm = clock.NewTimer(r.ring)
	base := config.Base
	if base.IsZero() {
		base = time.Now()
	}
	if config.Virtual || !config.Base.IsZero() {
		r.powerOnOff = base.UnixNano() - r.source()
	}
	r.offset = r.powerOnOff
	return r
}

func (r *rtc) Name() string { return "goldfish_rtc" }

// Reset stops the alarm. The time goes on: the clock has a battery.
func (r *rtc) Reset() {
	r.alarm.Stop()
	r.alarmNext, r.armed, r.pending, r.enabled = 0, false, false, false
	r.update()
}

// source is the time counted from, in nanoseconds.
func (r *rtc) source() int64 {
	if r.virtual {
		return int64(r.clock.Now())
	}
	return time.Now().UnixNano()
}

func (r *rtc) now() uint64 { return uint64(r.source() + r.offset) }

func (r *rtc) update() { r.line(r.pending && r.enabled) }

func (r *rtc) ring() {
	r.armed, r.pending = false, true
	r.update()
}

// arm sets the timer for the alarm; one in the past rings at once.
func (r *rtc) arm() {
	now := r.now()
	if r.alarmNext <= now {
		r.alarm.Stop()
		r.ring()
		return
	}
	r.armed = true
	r.alarm.Set(r.clock.Now() + time.Duration(min(r.alarmNext-now, 1<<62)))
}

func (r *rtc) ReadMMIO(off uint64, size int) (uint64, error) {
	if size != 4 {
		return 0, errAccess
	}
	switch off {
	case rtcTimeLow:
		now := r.now()
		r.timeHigh = uint32(now >> 32)
		return now & 0xffffffff, nil
	case rtcTimeHigh:
		return uint64(r.timeHigh), nil
	case rtcAlarmLow:
		return r.alarmNext & 0xffffffff, nil
	case rtcAlarmHigh:
		return r.alarmNext >> 32, nil
	case rtcIRQEnabled:
		return uint64(flag(r.enabled)), nil
	case rtcAlarmStatus:
		return uint64(flag(r.armed)), nil
	}
	return 0, nil
}

func (r *rtc) WriteMMIO(off uint64, size int, v uint64) error {
	if size != 4 {
		return errAccess
	}
	low := v & 0xffffffff
	switch off {
	case rtcTimeLow:
		r.offset = int64(uint64(r.timeHigh)<<32|low) - r.source()
	case rtcTimeHigh:
		r.timeHigh = uint32(v)
	case rtcAlarmLow:
		r.alarmNext = uint64(r.alarmHigh)<<32 | low
		r.arm()
	case rtcAlarmHigh:
		r.alarmHigh = uint32(v)
	case rtcIRQEnabled:
		r.enabled = v&1 != 0
		r.update()
	case rtcClearAlarm:
		r.alarm.Stop()
		r.armed = false
	case rtcClearInterrupt:
		r.pending = false
		r.update()
	}
	return nil
}

func (r *rtc) Describe() vm.Description {
	return vm.Description{
		Type:       "goldfish_rtc",
		GPIO:       []vm.GPIO{{Out: true, Name: "sysbus-irq", Lines: 1}},
		Properties: []vm.Property{vm.Boolean("big-endian", false)},
		MMIO:       []vm.MMIORange{{Base: rtcBase, Size: rtcSize}},
	}
}

func (r *rtc) States() []vm.State { return []vm.State{rtcState{r}} }

// rtcState is the section "goldfish_rtc".
type rtcState struct{ r *rtc }

type rtcFields struct {
	OldOffset  uint64 `vmstate:"tick_offset_vmstate"` // of version 2
	AlarmNext  uint64 `vmstate:"alarm_next"`
	Armed      bool   `vmstate:"alarm_running,uint32"`
	Pending    bool   `vmstate:"irq_pending,uint32"`
	Enabled    bool   `vmstate:"irq_enabled,uint32"`
	TimeHigh   uint32 `vmstate:"time_high"`
	TickOffset uint64 `vmstate:"tick_offset"`
}

func (s rtcState) Section() vm.Section {
	return vm.Section{Name: "goldfish_rtc", Version: 3, MinVersion: 3}
}

func (s rtcState) New() any { return &rtcFields{} }

func (s rtcState) Check(any, uint32) error { return nil }

func (s rtcState) Save() (any, error) {
	r := s.r
	return &rtcFields{
		AlarmNext: r.alarmNext, Armed: r.armed, Pending: r.pending, Enabled: r.enabled,
		TimeHigh: r.timeHigh, TickOffset: uint64(r.offset),
	}, nil
}

// Load takes the difference to the clock counted from, so that a machine put back shows
// today's time, as QEMU's does.
func (s rtcState) Load(state any, _ uint32) error {
	r, f := s.r, state.(*rtcFields)
	r.alarm.Stop()
	r.alarmNext, r.armed, r.pending, r.enabled = f.AlarmNext, f.Armed, f.Pending, f.Enabled
	r.timeHigh, r.offset = f.TimeHigh, int64(f.TickOffset)
	r.alarmHigh = uint32(f.AlarmNext >> 32)
	if r.armed {
		r.arm()
	}
	r.update()
	return nil
}
