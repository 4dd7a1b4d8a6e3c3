package riscv

import (
	"sync/atomic"

	"github.com/qmon/qmon/vm"
)

// ISA is the hart's instruction set as the device tree's "riscv,isa" has it.
const ISA = "rv64imafdc"

// MMUType is the device tree's "mmu-type": the smallest mode, which every kernel knows.
const MMUType = "riscv,sv39"

// Config describes a hart.
type Config struct {
	ID      uint64     // mhartid
	ResetPC uint64     // where the hart starts
	Memory  *vm.Memory // physical address space
	// Time gives the time CSR, in timebase ticks; nil reads as 0. It is called on the
	// machine's goroutine, from within Run; see also Executed.
	Time func() uint64
	// Log is told of traps; may be nil.
	Log *vm.Log
}

// Hart is one processor. Its methods, except Kick, belong on the machine's goroutine.
type Hart struct {
	// x and f have room for any uint8 index: see sink.
	x [256]uint64
	f [256]uint64

	pc   uint64
	priv uint8

	// The contexts for data accesses: by mode, and MPRV and SUM.
	dataCtx *tlbContext
	codeCtx *tlbContext

	// Of the budget that Run was given, left is what the present turn of the run loop has
	// not used, as of the last event that left the fast path, and beyond is for later turns.
	budget, beyond, left int64
	executed             int64 // instructions executed before the present Run

	exception trapInfo // set by whatever returns false in the execution path
	recheck   bool     // an access had effects on interrupts: leave the run loop
	halted    bool     // WFI

	csrs     csrState
	pmp      pmp
	reserved reservation

	contexts [ctxCount]tlbContext
	super    addressRange // of the superpages that contexts hold parts of
	code     codeCache
	single   singleStep

	mem    *vm.Memory
	last   *vm.Region // of the last slow access
	config Config
	kicked atomic.Bool

	foreign hartFields // parts of a saved state that the hart has no use for
}

var (
	_ vm.CPU        = (*Hart)(nil)
	_ vm.Translator = (*Hart)(nil)
)

// New makes a hart in its power-on state.
func New(c Config) *Hart {
	if c.Time == nil {
		c.Time = func() uint64 { return 0 }
	}
	h := &Hart{config: c, mem: c.Memory}
	h.code.init(h)
	h.Reset()
	return h
}

// Reset implements vm.CPU (privileged specification, 3.4). General registers become 0 as
// well, so that every run is the same. It must not be called from within Run: a device
// that a store tells to reset the machine posts the reset (vm.Machine.RequestReset).
func (h *Hart) Reset() {
	lines := h.csrs.lines
	h.x, h.f = [256]uint64{}, [256]uint64{}
	h.pc, h.priv = h.config.ResetPC, modeM
	h.csrs = csrState{lines: lines}
	h.pmp = pmp{}
	h.reserved = reservation{}
	h.foreign = resetForeign()
	h.halted, h.recheck = false, false
	h.executed = 0
	h.code.forget()
	h.flushTLB()
	h.updateContext()
}

// PC implements vm.CPU.
func (h *Hart) PC() uint64 { return h.pc }

// ID is mhartid.
func (h *Hart) ID() uint64 { return h.config.ID }

// Kick implements vm.CPU.
func (h *Hart) Kick() { h.kicked.Store(true) }

// Halted implements vm.CPU.
func (h *Hart) Halted() bool { return h.halted && h.csrs.pending() == 0 }

// Executed is how many instructions the present Run has executed: a clock that counts
// instructions learns from it, inside the Time hook or a device's access, how far the hart
// is. Outside of Run it is 0.
func (h *Hart) Executed() int64 { return h.budget - h.beyond - h.left }

// Interrupt lines, by their number in mip (privileged specification, 3.1.9).
const (
	LineMSIP = 3  // machine software interrupt: CLINT
	LineMTIP = 7  // machine timer interrupt: CLINT
	LineSEIP = 9  // supervisor external interrupt: PLIC
	LineMEIP = 11 // machine external interrupt: PLIC
)

// SetInterrupt sets the level of one of the interrupt lines.
func (h *Hart) SetInterrupt(line int, level bool) {
	bit := uint64(1) << uint(line) & lineBits
	if level {
		h.csrs.lines |= bit
	} else {
		h.csrs.lines &^= bit
	}
	h.recheck = true
}

// Interrupt is SetInterrupt as a line to connect a device to.
func (h *Hart) Interrupt(line int) vm.IRQ {
	return func(level bool) { h.SetInterrupt(line, level) }
}
