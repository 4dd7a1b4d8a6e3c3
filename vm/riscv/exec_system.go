package riscv

// The opcodes that leave the run loop, because they change what it depends on, or may.
const (
	firstSystem = opFENCEI
	lastSystem  = opCSRRCI
)

// execSystem executes the instruction at pc and moves pc. False means that an exception
// has been raised.
func (h *Hart) execSystem(o *op) bool {
	switch o.code {
	case opECALL:
		return h.raise(excEcallU+uint64(h.priv), 0)
	case opEBREAK:
		return h.raise(excBreakpoint, 0) // mtval may be 0 or pc; QEMU has 0
	case opMRET:
		return h.mret(o)
	case opSRET:
		return h.sret(o)
	case opWFI:
		return h.wfi(o)
	case opSFENCEVMA:
		if h.priv == modeU || h.priv == modeS && h.csrs.mstatus&mstatusTVM != 0 {
			return h.illegal(o)
		}
		if o.rs1 == 0 {
			h.flushTranslated()
		} else {
			h.flushPage(h.x[o.rs1])
		}
	case opFENCEI:
		h.code.forget()
		for i := range h.contexts {
			h.contexts[i].clearFetch()
		}
	default:
		return h.accessCSR(o)
	}
	h.pc += 4
	return true
}

// execSlow executes what the run loop leaves to functions, with pc at the instruction:
// what misses the TLB, atomics, floating point, and what changes modes or CSRs. It tells if
// the loop can go on behind the instruction; if not, pc is where to go on.
func (h *Hart) execSlow(o *op) bool {
	var ok bool
	switch c := o.code; {
	case c >= opFLW:
		ok = h.execFloat(o)
	case c >= opLRW:
		ok = h.execAtomic(o)
	case c >= firstSystem:
		if !h.execSystem(o) {
			h.takeException()
		}
		return false
	case c >= opSB && c <= opSD:
		ok = h.execStore(o)
	case c >= opLB && c <= opLWU:
		ok = h.execLoad(o)
	default:
		ok = h.illegal(o)
	}
	if !ok {
		h.takeException()
		return false
	}
	if h.recheck || h.kicked.Load() { // a device has something for the machine
		h.pc += uint64(o.len) * 2
		return false
	}
	return true
}

func (h *Hart) execLoad(o *op) bool {
	size := uint64(1) << ((o.code - opLB) & 3)
	v, ok := h.load(h.x[o.rs1]+uint64(o.imm), size)
	if !ok {
		return false
	}
	if o.code < opLBU && size < 8 { // sign-extended
		shift := 64 - 8*size
		v = uint64(int64(v<<shift) >> shift)
	}
	h.x[o.rd] = v
	return true
}

func (h *Hart) execStore(o *op) bool {
	return h.store(h.x[o.rs1]+uint64(o.imm), 1<<(o.code-opSB), h.x[o.rs2])
}
