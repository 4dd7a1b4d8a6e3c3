package riscv

// opcode names a decoded instruction; the order puts those of one exec file together.
type opcode uint16

// op is an instruction made ready for execution. 16 bytes, so that four fill a cache line.
type op struct {
	// imm is sign-extended; of branches and JAL it counts parcels of 2 bytes, of CSR
	// instructions it is the register's number.
	imm int32
	// raw is the instruction as fetched, 16 or 32 bits: mtval of an illegal one, and the
	// rounding mode and third operand of floating-point instructions.
	raw  uint32
	code opcode
	// dispatch is what the run loop switches on: code, plus compressed for an instruction of
	// 16 bits.
	dispatch opcode
	// rd is sink where the instruction names x0.
	rd, rs1, rs2 uint8
	len          uint8 // in parcels: 1 or 2
}

// compressed is added to the opcode of a compressed instruction for dispatch.
const compressed = opCount

// sink is where results for x0 go: register files have room for any uint8 index, so
// neither x0 nor a bounds check needs a branch.
const sink = 32

// format says where an instruction's operands are (unprivileged specification, 2.2 and
// chapter "RV32/64G instruction set listings").
type format uint8

const (
	fmtNone   format = iota
	fmtR             // rd, rs1, rs2
	fmtI             // rd, rs1, imm
	fmtLoad          // rd, imm(rs1)
	fmtShift         // rd, rs1, 6-bit amount
	fmtShiftW        // rd, rs1, 5-bit amount
	fmtS             // rs2, imm(rs1)
	fmtB             // rs1, rs2, target
	fmtU             // rd, upper immediate
	fmtJ             // rd, target
	fmtFence         // pred, succ
	fmtSFence        // rs1, rs2
	fmtCSR           // rd, csr, rs1
	fmtCSRI          // rd, csr, 5-bit immediate
	fmtLR            // rd, (rs1)
	fmtAMO           // rd, rs2, (rs1)
	fmtFLoad         // fd, imm(rs1)
	fmtFS            // fs2, imm(rs1)
	fmtFR            // fd, fs1, fs2
	fmtFRm           // fd, fs1, fs2, rounding mode
	fmtFR4           // fd, fs1, fs2, fs3, rounding mode
	fmtF1            // fd, fs1, rounding mode
	fmtFCmp          // rd, fs1, fs2
	fmtFToX          // rd, fs1
	fmtFToXRm        // rd, fs1, rounding mode
	fmtXToF          // fd, rs1
	fmtXToFRm        // fd, rs1, rounding mode
)

// intoInteger tells if the format's rd is an integer register.
func (f format) intoInteger() bool {
	switch f {
	case fmtFLoad, fmtFR, fmtFRm, fmtFR4, fmtF1, fmtXToF, fmtXToFRm:
		return false
	}
	return true
}

// instruction is one row of the decode table: word&mask == match identifies it.
type instruction struct {
	name        string
	mask, match uint32
	code        opcode
	format      format
}

// byMajor lists the rows of the table by major opcode, bits 6..2 of the word.
var byMajor = func() (t [32][]*instruction) {
	for i := range instructions {
		in := &instructions[i]
		major := in.match >> 2 & 31
		t[major] = append(t[major], in)
	}
	return t
}()

// lookup finds the row of a 32-bit instruction, nil for an illegal one.
func lookup(word uint32) *instruction {
	if word&3 != 3 {
		return nil
	}
	for _, in := range byMajor[word>>2&31] {
		if word&in.mask == in.match {
			return in
		}
	}
	return nil
}

// isCompressed tells the length of an instruction from its first parcel.
func isCompressed(parcel uint32) bool { return parcel&3 != 3 }

// decode makes an instruction ready: word holds 32 bits, of which a compressed one uses
// the lower half. What does not decode becomes opIllegal.
func decode(word uint32) op {
	raw, length := word, uint8(2)
	if isCompressed(word) {
		raw, length = word&0xffff, 1
		word = expand(uint16(raw))
	}
	o := op{raw: raw, len: length, code: opIllegal, dispatch: opIllegal}
	in := lookup(word)
	if in == nil {
		return o
	}
	o.code, o.dispatch = in.code, in.code
	if length == 1 {
		o.dispatch += compressed
	}
	o.rd = uint8(word >> 7 & 31)
	o.rs1 = uint8(word >> 15 & 31)
	o.rs2 = uint8(word >> 20 & 31)
	o.imm = in.format.immediate(word)
	if o.rd == 0 && in.format.intoInteger() {
		o.rd = sink
	}
	return o
}

// immediate extracts the immediate operand (unprivileged specification, 2.3).
func (f format) immediate(w uint32) int32 {
	switch f {
	case fmtI, fmtLoad, fmtFLoad:
		return int32(w) >> 20
	case fmtShift:
		return int32(w >> 20 & 63)
	case fmtShiftW:
		return int32(w >> 20 & 31)
	case fmtS, fmtFS:
		return int32(w)>>25<<5 | int32(w>>7&31)
	case fmtU:
		return int32(w & 0xfffff000)
	case fmtB:
		return (int32(w)>>31<<12 | int32(w>>7&1)<<11 | int32(w>>25&63)<<5 | int32(w>>8&15)<<1) >> 1
	case fmtJ:
		return (int32(w)>>31<<20 | int32(w>>12&255)<<12 | int32(w>>20&1)<<11 | int32(w>>21&1023)<<1) >> 1
	case fmtCSR, fmtCSRI:
		return int32(w >> 20)
	}
	return 0
}

// marker is an op that is no instruction but steers the run loop.
func marker(code opcode) op { return op{code: code, dispatch: code} }
