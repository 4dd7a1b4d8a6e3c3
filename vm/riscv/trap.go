package riscv

import (
	"math/bits"

	"github.com/qmon/qmon/vm"
)

// Privilege modes.
const (
	modeU = 0
	modeS = 1
	modeM = 3
)

// Exception causes that no access decides (privileged specification, table 3.6).
const (
	excIllegal    = 2
	excBreakpoint = 3
	excEcallU     = 8 // + mode
)

// causeInterrupt marks an interrupt in mcause and scause.
const causeInterrupt = 1 << 63

// trapInfo is a synchronous exception on its way.
type trapInfo struct{ cause, tval uint64 }

// raise notes an exception; the caller returns the false up to the run loop, which enters
// the trap with pc at the instruction.
func (h *Hart) raise(cause, tval uint64) bool {
	h.exception = trapInfo{cause, tval}
	return false
}

func (h *Hart) illegal(o *op) bool { return h.raise(excIllegal, uint64(o.raw)) }

// takeException enters the trap noted by raise. Instructions that trap do not retire.
func (h *Hart) takeException() {
	h.csrs.instret.offset--
	h.enterTrap(h.exception.cause, h.exception.tval, h.csrs.medeleg>>(h.exception.cause&63)&1 != 0)
}

// enterTrap transfers to the handler in S mode if delegated and not from M, else in M
// (privileged specification, 3.1.6.1 and 3.1.7 to 3.1.15).
func (h *Hart) enterTrap(cause, tval uint64, delegated bool) {
	c := &h.csrs
	if h.config.Log.Enabled(vm.LogInterrupts) {
		h.logTrap(cause, tval)
	}
	h.reserved.valid = false // a reservation must not outlive its context
	if delegated && h.priv != modeM {
		c.sepc, c.scause, c.stval = h.pc, cause, tval
		s := c.mstatus &^ (mstatusSPIE | mstatusSPP | mstatusSIE)
		s |= c.mstatus & mstatusSIE << (spieShift - sieShift)
		s |= uint64(h.priv) << sppShift
		c.mstatus, h.priv, h.pc = s, modeS, vector(c.stvec, cause)
	} else {
		c.mepc, c.mcause, c.mtval = h.pc, cause, tval
		s := c.mstatus &^ (mstatusMPIE | mstatusMPP | mstatusMIE)
		s |= c.mstatus & mstatusMIE << (mpieShift - mieShift)
		s |= uint64(h.priv) << mppShift
		c.mstatus, h.priv, h.pc = s, modeM, vector(c.mtvec, cause)
	}
	h.updateContext()
}

// logTrap describes a trap as QEMU's log does, but for the cause in words.
func (h *Hart) logTrap(cause, tval uint64) {
	h.config.Log.Printf(vm.LogInterrupts, "riscv_cpu_do_interrupt: hart:%d, async:%d, cause:%016x, epc:0x%016x, tval:0x%016x",
		h.config.ID, cause>>63, cause&^causeInterrupt, h.pc, tval)
}

// vector is the handler's address: in vectored mode each interrupt has its own.
func vector(tvec, cause uint64) uint64 {
	base := tvec &^ 3
	if tvec&1 != 0 && cause&causeInterrupt != 0 {
		base += 4 * (cause &^ causeInterrupt)
	}
	return base
}

// interruptOrder lists interrupts by falling priority: MEI, MSI, MTI, SEI, SSI, STI
// (privileged specification, 3.1.9).
var interruptOrder = [...]uint{11, 3, 7, 9, 1, 5}

// takeInterrupt enters the trap of a pending interrupt if one is enabled.
func (h *Hart) takeInterrupt() {
	c := &h.csrs
	pending := c.pending()
	if pending == 0 {
		return
	}
	ready := uint64(0)
	if h.priv < modeM || c.mstatus&mstatusMIE != 0 {
		ready = pending &^ c.mideleg
	}
	if ready == 0 && (h.priv < modeS || h.priv == modeS && c.mstatus&mstatusSIE != 0) {
		ready = pending & c.mideleg
	}
	if ready == 0 {
		return
	}
	n := uint(bits.TrailingZeros64(ready))
	for _, i := range interruptOrder {
		if ready>>i&1 != 0 {
			n = i
			break
		}
	}
	h.enterTrap(causeInterrupt|uint64(n), 0, c.mideleg>>n&1 != 0)
}

// mret returns from a trap in M mode (privileged specification, 3.3.2).
func (h *Hart) mret(o *op) bool {
	if h.priv != modeM {
		return h.illegal(o)
	}
	c := &h.csrs
	s := c.mstatus
	h.priv = uint8(s >> mppShift & 3)
	s = s&^(mstatusMIE|mstatusMPP) | s&mstatusMPIE>>(mpieShift-mieShift) | mstatusMPIE
	h.returned(s, c.mepc)
	return true
}

// sret returns from a trap in S mode.
func (h *Hart) sret(o *op) bool {
	c := &h.csrs
	s := c.mstatus
	if h.priv == modeU || h.priv == modeS && s&mstatusTSR != 0 {
		return h.illegal(o)
	}
	h.priv = uint8(s >> sppShift & 1)
	s = s&^(mstatusSIE|mstatusSPP) | s&mstatusSPIE>>(spieShift-sieShift) | mstatusSPIE
	h.returned(s, c.sepc)
	return true
}

func (h *Hart) returned(mstatus, pc uint64) {
	h.reserved.valid = false
	if h.priv != modeM {
		mstatus &^= mstatusMPRV
	}
	h.csrs.mstatus = mstatus
	h.pc = pc
	h.updateContext()
}

// wfi waits for an interrupt that is enabled in mie, whatever mstatus says (privileged
// specification, 3.3.3).
func (h *Hart) wfi(o *op) bool {
	if h.priv == modeU || h.priv == modeS && h.csrs.mstatus&mstatusTW != 0 {
		return h.illegal(o)
	}
	h.pc += uint64(o.len) * 2
	h.halted = h.csrs.pending() == 0
	return true
}
