package riscv

// setFCSR writes the rounding mode and the flags.
func (h *Hart) setFCSR(v uint64) {
	h.csrs.fflags, h.csrs.frm = uint8(v&0x1f), uint8(v>>5&7)
	h.csrs.mstatus |= mstatusFS
}

func (h *Hart) execFloat(o *op) bool { return h.illegal(o) }
