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
		h.flushTranslated()
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

// execOther executes what the run loop leaves to functions: atomics and floating point.
func (h *Hart) execOther(o *op) bool {
	if o.code < opFLW {
		return h.execAtomic(o)
	}
	return h.execFloat(o)
}
