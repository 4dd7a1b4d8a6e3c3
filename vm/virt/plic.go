package virt

import (
	"math/bits"

	"github.com/qmon/qmon/vm"
)

// Registers of the PLIC (RISC-V Platform-Level Interrupt Controller specification 1.0,
// chapter 3) with the sizes of this board.
const (
	plicSources    = 96 // source 0 does not exist
	plicWords      = plicSources / 32
	plicContexts   = 2 // hart 0's machine and supervisor mode
	plicPriorities = 7

	plicPriority      = 0
	plicPending       = 0x1000
	plicEnable        = 0x2000
	plicEnableStride  = 0x80
	plicContext       = 0x200000
	plicContextStride = 0x1000
	plicThreshold     = 0
	plicClaim         = 4
)

// plic collects the devices' interrupt lines and tells each context whether one of those
// that it has enabled is pending.
//
// The specification leaves to the gateway in front of each source what a line means
// (section 1.3). Here it is what QEMU 7.2 does, measured: whenever a device raises its
// line, even one that is high, the source becomes pending, also while it is being handled;
// only a claim ends that. A line that merely stays high does not interrupt again. xv6
// relies on it, which never acknowledges its UART's transmitter.
type plic struct {
	lines [plicContexts]vm.IRQ // MEIP, SEIP

	pending   [plicWords]uint32
	claimed   [plicWords]uint32 // and not completed
	priority  [plicSources]uint32
	enable    [plicContexts][plicWords]uint32
	threshold [plicContexts]uint32
}

var (
	_ vm.Device    = (*plic)(nil)
	_ vm.MMIO      = (*plic)(nil)
	_ vm.Described = (*plic)(nil)
)

func newPLIC(machine, supervisor vm.IRQ) *plic {
	return &plic{lines: [plicContexts]vm.IRQ{machine, supervisor}}
}

func (p *plic) Name() string { return "riscv.sifive.plic" }

func (p *plic) Reset() {
	*p = plic{lines: p.lines}
	p.update()
}

// source is the line of one device.
func (p *plic) source(n int) vm.IRQ {
	word, bit := n/32, uint32(1)<<(n%32)
	return func(level bool) {
		if level && p.pending[word]&bit == 0 {
			p.pending[word] |= bit
			p.update()
		}
	}
}

// best is the enabled pending source of highest priority above the threshold, the lowest
// number of equals; 0 if there is none.
func (p *plic) best(context int) int {
	best, highest := 0, p.threshold[context]
	for w := range plicWords {
		for set := p.pending[w] &^ p.claimed[w] & p.enable[context][w]; set != 0; set &= set - 1 {
			n := w*32 + bits.TrailingZeros32(set)
			if p.priority[n] > highest {
				best, highest = n, p.priority[n]
			}
		}
	}
	return best
}

func (p *plic) update() {
	for c, line := range p.lines {
		line(p.best(c) != 0)
	}
}

func (p *plic) claim(context int) int {
	n := p.best(context)
	if n != 0 {
		p.pending[n/32] &^= 1 << (n % 32)
		p.claimed[n/32] |= 1 << (n % 32)
		p.update()
	}
	return n
}

// complete ends the handling of source n. One that the context has not enabled is ignored
// (section 9 of the specification).
func (p *plic) complete(context int, n uint64) {
	if n < plicSources && p.enable[context][n/32]>>(n%32)&1 != 0 {
		p.claimed[n/32] &^= 1 << (n % 32)
		p.update()
	}
}

func (p *plic) ReadMMIO(off uint64, size int) (uint64, error) {
	if size != 4 {
		return 0, errAccess
	}
	if off < plicPriority+4*plicSources {
		return uint64(p.priority[off/4]), nil
	}
	if w := (off - plicPending) / 4; off >= plicPending && w < plicWords {
		return uint64(p.pending[w]), nil
	}
	if reg := p.enableWord(off); reg != nil {
		return uint64(*reg), nil
	}
	switch c, reg := contextRegister(off); {
	case c < 0:
	case reg == plicThreshold:
		return uint64(p.threshold[c]), nil
	case reg == plicClaim:
		return uint64(p.claim(c)), nil
	}
	return 0, nil
}

func (p *plic) WriteMMIO(off uint64, size int, v uint64) error {
	if size != 4 {
		return errAccess
	}
	if n := off / 4; off < plicPriority+4*plicSources {
		if n != 0 {
			p.priority[n] = uint32(v) & plicPriorities
		}
	} else if reg := p.enableWord(off); reg != nil {
		*reg = uint32(v)
		p.enable[0][0] &^= 1
		p.enable[1][0] &^= 1
	} else if c, reg := contextRegister(off); c >= 0 && reg == plicThreshold {
		p.threshold[c] = uint32(v) & plicPriorities
	} else if c >= 0 && reg == plicClaim {
		p.complete(c, v&0xffffffff)
		return nil
	}
	p.update()
	return nil
}

// enableWord is the word of enable bits at off, nil if there is none.
func (p *plic) enableWord(off uint64) *uint32 {
	if off < plicEnable || off >= plicEnable+plicContexts*plicEnableStride {
		return nil
	}
	off -= plicEnable
	context, word := off/plicEnableStride, off%plicEnableStride/4
	if word >= plicWords {
		return nil
	}
	return &p.enable[context][word]
}

// contextRegister tells which context's register lies at off; -1 for none.
func contextRegister(off uint64) (context int, reg uint64) {
	if off < plicContext || off >= plicContext+plicContexts*plicContextStride {
		return -1, 0
	}
	off -= plicContext
	return int(off / plicContextStride), off % plicContextStride
}

func (p *plic) Describe() vm.Description {
	return vm.Description{
		Type: "riscv.sifive.plic",
		GPIO: []vm.GPIO{{Lines: plicSources}, {Out: true, Lines: plicContexts}},
		Properties: []vm.Property{
			vm.Text("hart-config", "MS"),
			vm.Number("hartid-base", 0),
			vm.Number("num-sources", plicSources),
			vm.Number("num-priorities", plicPriorities),
			vm.Number("priority-base", 4),
			vm.Number("pending-base", plicPending),
			vm.Number("enable-base", plicEnable),
			vm.Number("enable-stride", plicEnableStride),
			vm.Number("context-base", plicContext),
			vm.Number("context-stride", plicContextStride),
			vm.Number("aperture-size", plicSize),
		},
		MMIO: []vm.MMIORange{{Base: plicBase, Size: plicSize}},
	}
}

func (p *plic) States() []vm.State { return []vm.State{plicState{p}} }

// plicState is the section "riscv_sifive_plic". Devices are loaded after it and raise
// their lines again: that may be an interrupt too many, but never one too few.
type plicState struct{ p *plic }

type plicFields struct {
	Priority  [plicSources]uint32              `vmstate:"source_priority"`
	Threshold [plicContexts]uint32             `vmstate:"target_priority"`
	Pending   [plicWords]uint32                `vmstate:"pending"`
	Claimed   [plicWords]uint32                `vmstate:"claimed"`
	Enable    [plicContexts * plicWords]uint32 `vmstate:"enable"`
}

func (s plicState) Section() vm.Section {
	return vm.Section{Name: "riscv_sifive_plic", Version: 1, MinVersion: 1}
}

func (s plicState) New() any { return &plicFields{} }

func (s plicState) Check(any, uint32) error { return nil }

func (s plicState) Save() (any, error) {
	p := s.p
	f := &plicFields{Priority: p.priority, Threshold: p.threshold, Pending: p.pending, Claimed: p.claimed}
	for w := range plicWords {
		for c := range plicContexts {
			f.Enable[c*plicWords+w] = p.enable[c][w]
		}
	}
	return f, nil
}

func (s plicState) Load(state any, _ uint32) error {
	f, p := state.(*plicFields), s.p
	p.threshold, p.claimed, p.pending = f.Threshold, f.Claimed, f.Pending
	for n := range p.priority {
		p.priority[n] = f.Priority[n] & plicPriorities
	}
	for w := range plicWords {
		for c := range plicContexts {
			p.enable[c][w] = f.Enable[c*plicWords+w]
		}
	}
	p.update()
	return nil
}
