package riscv

import "github.com/qmon/qmon/vm/riscv/softfloat"

// Instructions of F and D come in the same order, so that one function serves both.
const toSingle = opFLD - opFLW

var _ = [1]struct{}{}[opFCVTDS-opFCVTSD-toSingle]

const (
	// boxed is the upper half of a register that holds a single (unprivileged
	// specification, 12.2).
	boxed    = 0xffffffff << 32
	signBit  = 1 << 63
	signBit4 = 1 << 31

	rmDynamic = 7 // the instruction's rounding mode is that of frm
	rmCount   = 5
)

// setFCSR writes the rounding mode and the flags.
func (h *Hart) setFCSR(v uint64) {
	h.csrs.fflags, h.csrs.frm = uint8(v&0x1f), uint8(v>>5&7)
	h.csrs.mstatus |= mstatusFS
}

// floats is how the operands of an instruction are read: as singles or doubles.
type floats struct {
	format softfloat.Format
	single bool
	sign   uint64
}

var (
	singles = &floats{softfloat.Single, true, signBit4}
	doubles = &floats{softfloat.Double, false, signBit}
)

// read takes an operand from a register: a single that is not boxed is the canonical NaN.
func (p *floats) read(v uint64) uint64 {
	if !p.single {
		return v
	}
	if v>>32 != boxed>>32 {
		return softfloat.Single.NaN()
	}
	return v & 0xffffffff
}

// setF writes a result of the precision.
func (h *Hart) setF(p *floats, rd uint8, v uint64) {
	if p.single {
		v |= boxed
	}
	h.f[rd] = v
	h.csrs.mstatus |= mstatusFS
}

// execFloat executes an instruction of F or D (unprivileged specification, chapters 11 and
// 12). False means that an exception has been raised.
func (h *Hart) execFloat(o *op) bool {
	if h.csrs.mstatus&mstatusFS == 0 {
		return h.illegal(o)
	}
	code, p := o.code, singles
	if code >= opFLD {
		code, p = code-toSingle, doubles
	}
	switch {
	case code <= opFSW:
		return h.moveMemory(o, code, p)
	case code == opFSGNJS, code == opFSGNJNS, code == opFSGNJXS:
		h.setF(p, o.rd, sign(code, p, p.read(h.f[o.rs1]), p.read(h.f[o.rs2])))
		return true
	case code == opFMVXW, code == opFCLASSS, code == opFMVWX:
		h.moveBits(o, code, p)
		return true
	}
	env := softfloat.Env{}
	if takesRounding(code) {
		rm := o.raw >> 12 & 7
		if rm == rmDynamic {
			rm = uint32(h.csrs.frm)
		}
		if rm >= rmCount {
			return h.illegal(o)
		}
		env.Rounding = softfloat.Rounding(rm)
	}
	switch {
	case code == opFCVTSD:
		h.convert(o, &env, p)
	case code >= opFLES:
		h.integerSide(o, code, &env, p)
	default:
		h.arithmetic(o, code, &env, p)
	}
	if env.Flags != 0 {
		h.csrs.fflags |= uint8(env.Flags)
		h.csrs.mstatus |= mstatusFS
	}
	return true
}

// takesRounding tells if the field of the rounding mode is one.
func takesRounding(code opcode) bool {
	switch code {
	case opFMINS, opFMAXS, opFLES, opFLTS, opFEQS:
		return false
	}
	return true
}

// moveMemory executes loads and stores, which move bits.
func (h *Hart) moveMemory(o *op, code opcode, p *floats) bool {
	va := h.x[o.rs1] + uint64(o.imm)
	size := uint64(8)
	if p.single {
		size = 4
	}
	if code == opFSW {
		return h.write(va, size, h.f[o.rs2])
	}
	v, ok := h.read(va, size)
	if ok {
		h.setF(p, o.rd, v)
	}
	return ok
}

// sign executes FSGNJ, FSGNJN and FSGNJX.
func sign(code opcode, p *floats, a, b uint64) uint64 {
	switch code {
	case opFSGNJS:
		return a&^p.sign | b&p.sign
	case opFSGNJNS:
		return a&^p.sign | ^b&p.sign
	}
	return a ^ b&p.sign
}

// moveBits executes FMV and FCLASS.
func (h *Hart) moveBits(o *op, code opcode, p *floats) {
	switch code {
	case opFMVWX:
		h.setF(p, o.rd, h.x[o.rs1])
	case opFCLASSS:
		h.x[o.rd] = 1 << p.format.Class(p.read(h.f[o.rs1]))
	default:
		v := h.f[o.rs1]
		if p.single {
			v = word(v)
		}
		h.x[o.rd] = v
	}
}

// convert executes FCVT.S.D (p is singles) and FCVT.D.S.
func (h *Hart) convert(o *op, env *softfloat.Env, p *floats) {
	from := doubles
	if !p.single {
		from = singles
	}
	h.setF(p, o.rd, env.Convert(p.format, from.format, from.read(h.f[o.rs1])))
}

// arithmetic executes what has operands and result in f registers.
func (h *Hart) arithmetic(o *op, code opcode, env *softfloat.Env, p *floats) {
	a, b := p.read(h.f[o.rs1]), p.read(h.f[o.rs2])
	var v uint64
	switch code {
	case opFADDS:
		v = env.Add(p.format, a, b)
	case opFSUBS:
		v = env.Sub(p.format, a, b)
	case opFMULS:
		v = env.Mul(p.format, a, b)
	case opFDIVS:
		v = env.Div(p.format, a, b)
	case opFSQRTS:
		v = env.Sqrt(p.format, a)
	case opFMINS:
		v = env.Min(p.format, a, b)
	case opFMAXS:
		v = env.Max(p.format, a, b)
	default:
		c := p.read(h.f[o.raw>>27])
		if code == opFNMSUBS || code == opFNMADDS { // -(a*b) -+ c
			a ^= p.sign
		}
		if code == opFMSUBS || code == opFNMADDS {
			c ^= p.sign
		}
		v = env.MulAdd(p.format, a, b, c)
	}
	h.setF(p, o.rd, v)
}

// integerSide executes comparisons and conversions from and to integers.
func (h *Hart) integerSide(o *op, code opcode, env *softfloat.Env, p *floats) {
	switch code { // from integers
	case opFCVTSW:
		h.setF(p, o.rd, env.FromInt(p.format, int64(int32(h.x[o.rs1]))))
		return
	case opFCVTSWU:
		h.setF(p, o.rd, env.FromUint(p.format, uint64(uint32(h.x[o.rs1]))))
		return
	case opFCVTSL:
		h.setF(p, o.rd, env.FromInt(p.format, int64(h.x[o.rs1])))
		return
	case opFCVTSLU:
		h.setF(p, o.rd, env.FromUint(p.format, h.x[o.rs1]))
		return
	}
	a, b := p.read(h.f[o.rs1]), p.read(h.f[o.rs2])
	var v uint64
	switch code {
	case opFLES:
		v = bit(env.LessEqual(p.format, a, b))
	case opFLTS:
		v = bit(env.Less(p.format, a, b))
	case opFEQS:
		v = bit(env.Equal(p.format, a, b))
	case opFCVTWS:
		v = uint64(env.ToInt(p.format, a, 32))
	case opFCVTWUS: // sign-extended like all words
		v = word(env.ToUint(p.format, a, 32))
	case opFCVTLS:
		v = uint64(env.ToInt(p.format, a, 64))
	case opFCVTLUS:
		v = env.ToUint(p.format, a, 64)
	}
	h.x[o.rd] = v
}
