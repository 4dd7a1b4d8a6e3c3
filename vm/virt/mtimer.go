package virt

import (
	"math"
	"time"

	"github.com/qmon/qmon/vm"
)

// Registers of the ACLINT's two devices (RISC-V ACLINT specification 1.0, chapters 2 and
// 3), which together look like a SiFive CLINT.
const (
	mtimecmpBase = 0x0000 // eight bytes a hart, from the start of the MTIMER device
	mtimeReg     = 0x7ff8
	timeUnit     = time.Second / Timebase
)

// mtimer is the ACLINT's machine-level timer: mtime, which is the machine's virtual clock
// at 10 MHz, and mtimecmp.
type mtimer struct {
	clock *vm.Clock
	line  vm.IRQ // MTIP
	timer *vm.Timer

	timecmp uint64
	delta   uint64 // mtime less the virtual clock, once the guest has written mtime
}

var (
	_ vm.Device    = (*mtimer)(nil)
	_ vm.MMIO      = (*mtimer)(nil)
	_ vm.Described = (*mtimer)(nil)
)

func newMTimer(clock *vm.Clock, line vm.IRQ) *mtimer {
	t := &mtimer{clock: clock, line: line}
	t.timer = clock.NewTimer(t.update)
	return t
}

func (t *mtimer) Name() string { return "riscv.aclint.mtimer" }

func (t *mtimer) Reset() {
	t.timecmp, t.delta = 0, 0
	t.update()
}

// Time is mtime, and the time CSR of the hart.
func (t *mtimer) Time() uint64 { return uint64(t.clock.Now()/timeUnit) + t.delta }

// update sets the line, and the timer for when it will rise.
func (t *mtimer) update() {
	now := t.Time()
	t.line(now >= t.timecmp)
	t.timer.Stop()
	if now < t.timecmp {
		ticks := t.timecmp - t.delta
		if ticks <= uint64(math.MaxInt64/timeUnit) {
			t.timer.Set(time.Duration(ticks) * timeUnit)
		}
	}
}

func (t *mtimer) ReadMMIO(off uint64, size int) (uint64, error) {
	if size != 4 && size != 8 {
		return 0, errAccess
	}
	switch off &^ 7 {
	case mtimecmpBase:
		return part(t.timecmp, off, size), nil
	case mtimeReg:
		return part(t.Time(), off, size), nil
	}
	return 0, nil
}

func (t *mtimer) WriteMMIO(off uint64, size int, v uint64) error {
	if size != 4 && size != 8 {
		return errAccess
	}
	switch off &^ 7 {
	case mtimecmpBase:
		t.timecmp = replace(t.timecmp, off, size, v)
	case mtimeReg:
		now := t.Time()
		t.delta += replace(now, off, size, v) - now
	}
	t.update()
	return nil
}

// part is what an access of size bytes at off sees of an eight-byte register.
func part(reg, off uint64, size int) uint64 {
	if size == 8 {
		return reg
	}
	return reg >> (8 * (off & 4)) & math.MaxUint32
}

// replace is an eight-byte register after an access of size bytes at off.
func replace(reg, off uint64, size int, v uint64) uint64 {
	if size == 8 {
		return v
	}
	shift := 8 * (off & 4)
	return reg&^(math.MaxUint32<<shift) | v&math.MaxUint32<<shift
}

func (t *mtimer) Describe() vm.Description {
	return vm.Description{
		Type: "riscv.aclint.mtimer",
		GPIO: []vm.GPIO{{Out: true, Lines: 1}},
		Properties: []vm.Property{
			vm.Number("hartid-base", 0),
			vm.Number("num-harts", 1),
			vm.Number("timecmp-base", mtimecmpBase),
			vm.Number("time-base", mtimeReg),
			vm.Number("aperture-size", mtimerSize),
			vm.Number("timebase-freq", Timebase),
		},
		MMIO: []vm.MMIORange{{Base: mtimerBase, Size: mtimerSize}},
	}
}

func (t *mtimer) States() []vm.State { return []vm.State{mtimerState{t}} }

// mtimerState is the section "riscv_mtimer". mtime itself is the section "timer".
type mtimerState struct{ t *mtimer }

type mtimerFields struct {
	Timecmp uint64 `vmstate:"timecmp"`
	// Delta is our own addition, there only if the guest has set mtime.
	Delta *mtimerDelta `vmstate:"riscv_mtimer/delta,subsection=1"`
}

type mtimerDelta struct {
	Delta uint64 `vmstate:"time_delta"`
}

func (s mtimerState) Section() vm.Section {
	return vm.Section{Name: "riscv_mtimer", Version: 1, MinVersion: 1}
}

func (s mtimerState) New() any { return &mtimerFields{} }

func (s mtimerState) Check(any, uint32) error { return nil }

func (s mtimerState) Save() (any, error) {
	f := &mtimerFields{Timecmp: s.t.timecmp}
	if s.t.delta != 0 {
		f.Delta = &mtimerDelta{s.t.delta}
	}
	return f, nil
}

func (s mtimerState) Load(state any, _ uint32) error {
	f := state.(*mtimerFields)
	s.t.timecmp, s.t.delta = f.Timecmp, 0
	if f.Delta != nil {
		s.t.delta = f.Delta.Delta
	}
	s.t.update()
	return nil
}
