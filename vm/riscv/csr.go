package riscv

// mstatus (privileged specification, 3.1.6).
const (
	sieShift  = 1
	mieShift  = 3
	spieShift = 5
	mpieShift = 7
	sppShift  = 8
	mppShift  = 11
	fsShift   = 13

	mstatusSIE  = 1 << sieShift
	mstatusMIE  = 1 << mieShift
	mstatusSPIE = 1 << spieShift
	mstatusMPIE = 1 << mpieShift
	mstatusSPP  = 1 << sppShift
	mstatusMPP  = 3 << mppShift
	mstatusFS   = 3 << fsShift
	mstatusMPRV = 1 << 17
	mstatusSUM  = 1 << 18
	mstatusMXR  = 1 << 19
	mstatusTVM  = 1 << 20
	mstatusTW   = 1 << 21
	mstatusTSR  = 1 << 22
	mstatusUXL  = 2 << 32 // always 64 bits
	mstatusSXL  = 2 << 34
	mstatusSD   = 1 << 63

	mstatusWritable = mstatusSIE | mstatusMIE | mstatusSPIE | mstatusMPIE | mstatusSPP | mstatusMPP |
		mstatusFS | mstatusMPRV | mstatusSUM | mstatusMXR | mstatusTVM | mstatusTW | mstatusTSR
	sstatusWritable = mstatusSIE | mstatusSPIE | mstatusSPP | mstatusFS | mstatusSUM | mstatusMXR
	sstatusVisible  = sstatusWritable | 3<<32 | mstatusSD
)

// Interrupt bits of mip and mie (privileged specification, 3.1.9).
const (
	bitSSI = 1 << 1
	bitMSI = 1 << LineMSIP
	bitSTI = 1 << 5
	bitMTI = 1 << LineMTIP
	bitSEI = 1 << LineSEIP
	bitMEI = 1 << LineMEIP

	lineBits       = bitMSI | bitMTI | bitSEI | bitMEI
	supervisorBits = bitSSI | bitSTI | bitSEI
	interruptBits  = lineBits | supervisorBits
)

const (
	// delegable exceptions: all that can come from below M mode; an environment call from
	// M mode (11) never does.
	delegable = 1<<0 | 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<9 | 1<<12 | 1<<13 | 1<<15

	// misaBits: MXL 64 and the letters A C D F I M S U.
	misaBits = 2<<62 | misaExt
	misaExt  = 1<<0 | 1<<2 | 1<<3 | 1<<5 | 1<<8 | 1<<12 | 1<<18 | 1<<20

	envcfgFIOM = 1 // fences of I/O order memory too: they always do here
)

// counter is mcycle or minstret: it counts what the hart executes, unless inhibited.
type counter struct {
	offset  int64 // to the number of executed instructions
	stopped bool
	held    uint64 // the value while stopped
}

func (c *counter) value(executed int64) uint64 {
	if c.stopped {
		return c.held
	}
	return uint64(executed + c.offset)
}

func (c *counter) set(v uint64, executed int64) {
	c.held, c.offset = v, int64(v)-executed
}

func (c *counter) inhibit(stop bool, executed int64) {
	v := c.value(executed)
	c.stopped = stop
	c.set(v, executed)
}

// csrState is the contents of the control and status registers.
type csrState struct {
	mstatus          uint64 // without SD, UXL, SXL
	mtvec, stvec     uint64
	mepc, sepc       uint64
	mcause, scause   uint64
	mtval, stval     uint64
	mscratch         uint64
	sscratch         uint64
	medeleg, mideleg uint64
	mie              uint64
	soft             uint64 // bits of mip that software has set: SSIP, STIP, SEIP
	lines            uint64 // bits of mip that devices drive
	satp             uint64
	mcounteren       uint64
	scounteren       uint64
	menvcfg, senvcfg uint64
	fflags, frm      uint8
	cycle, instret   counter
}

func (c *csrState) mip() uint64 { return c.soft | c.lines }

// pending is what would interrupt if the mode allows.
func (c *csrState) pending() uint64 { return c.mip() & c.mie }

// status is mstatus with its computed fields.
func (c *csrState) status() uint64 {
	s := c.mstatus | mstatusUXL | mstatusSXL
	if s&mstatusFS == mstatusFS {
		s |= mstatusSD
	}
	return s
}

// setStatus writes the fields of mask.
func (h *Hart) setStatus(v, mask uint64) {
	c := &h.csrs
	if v&mstatusMPP == 2<<mppShift { // reserved: MPP stays
		mask &^= mstatusMPP
	}
	s := c.mstatus&^mask | v&mask
	if (s^c.mstatus)&mstatusMXR != 0 {
		h.flushTranslated()
	}
	c.mstatus = s
	h.updateContext()
}

// setSATP writes satp; a mode that is not there leaves all of it as it was.
func (h *Hart) setSATP(v uint64) {
	switch v >> satpModeShift {
	case satpBare, satpSv39, satpSv48:
		h.csrs.satp = v
		h.flushTranslated()
	}
}

// setTVEC writes mtvec or stvec; a reserved mode leaves it as it was.
func setTVEC(r *uint64, v uint64) {
	if v&2 == 0 {
		*r = v
	}
}

// retired is how many instructions have been executed before the present one.
func (h *Hart) retired() int64 { return h.executed + h.Executed() - 1 }

// csr is a row of the table of registers.
type csr struct {
	name  string
	read  func(h *Hart) uint64
	write func(h *Hart, v uint64)
	// guard, if there, says whether the present mode may use the register, beyond what
	// its number says.
	guard func(h *Hart) bool
}

// accessCSR executes the six CSR instructions (unprivileged specification, chapter 9).
func (h *Hart) accessCSR(o *op) bool {
	operand := h.x[o.rs1]
	if o.code >= opCSRRWI {
		operand = uint64(o.rs1)
	}
	writes := o.rs1 != 0
	if o.code == opCSRRW || o.code == opCSRRWI {
		writes = true
	}
	n := uint32(o.imm)
	r := csrTable[n&0xfff]
	switch {
	case r == nil, uint8(n>>8&3) > h.priv, writes && n>>10 == 3, r.guard != nil && !r.guard(h):
		return h.illegal(o)
	}
	old := r.read(h)
	if writes {
		switch o.code {
		case opCSRRS, opCSRRSI:
			operand |= h.unmerged(n, old)
		case opCSRRC, opCSRRCI:
			operand = h.unmerged(n, old) &^ operand
		}
		if r.write != nil {
			r.write(h, operand)
		}
	}
	h.x[o.rd] = old
	h.pc += 4
	return true
}

// unmerged is what read-modify-write instructions modify: of mip.SEIP the bit that
// software has set, not the line (privileged specification, 3.1.9).
func (h *Hart) unmerged(n uint32, old uint64) uint64 {
	if n == csrMIP {
		return old&^bitSEI | h.csrs.soft&bitSEI
	}
	return old
}

// counterEnabled is the guard of the user-level counter with the bit n in the enable
// registers (privileged specification, 3.1.11 and 4.1.5).
func counterEnabled(n uint) func(h *Hart) bool {
	return func(h *Hart) bool {
		if h.priv < modeM && h.csrs.mcounteren>>n&1 == 0 {
			return false
		}
		return h.priv != modeU || h.csrs.scounteren>>n&1 != 0
	}
}

func floatEnabled(h *Hart) bool { return h.csrs.mstatus&mstatusFS != 0 }

func satpAllowed(h *Hart) bool {
	return h.priv != modeS || h.csrs.mstatus&mstatusTVM == 0
}
