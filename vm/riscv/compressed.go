package riscv

// Encoders for the 32-bit instructions that compressed ones stand for.

func encI(op, f3, rd, rs1 uint32, imm int32) uint32 {
	return uint32(imm)<<20 | rs1<<15 | f3<<12 | rd<<7 | op
}

func encR(op, f3, f7, rd, rs1, rs2 uint32) uint32 {
	return f7<<25 | rs2<<20 | rs1<<15 | f3<<12 | rd<<7 | op
}

func encS(op, f3, rs1, rs2 uint32, imm int32) uint32 {
	u := uint32(imm)
	return u>>5&127<<25 | rs2<<20 | rs1<<15 | f3<<12 | u&31<<7 | op
}

func encB(f3, rs1, rs2 uint32, imm int32) uint32 {
	u := uint32(imm)
	return u>>12&1<<31 | u>>5&63<<25 | rs2<<20 | rs1<<15 | f3<<12 | u>>1&15<<8 | u>>11&1<<7 | 0x63
}

func encJ(rd uint32, imm int32) uint32 {
	u := uint32(imm)
	return u>>20&1<<31 | u>>1&1023<<21 | u>>11&1<<20 | u>>12&255<<12 | rd<<7 | 0x6f
}

// field moves bits of a compressed instruction: from gives the lowest source bit, n how
// many, to where they go.
func field(c, from, n, to uint32) uint32 { return c >> from & (1<<n - 1) << to }

// signed extends the sign from bit n-1.
func signed(v uint32, n uint) int32 { return int32(v<<(32-n)) >> (32 - n) }

// Immediates of the compressed formats (unprivileged specification, 16.2 to 16.5).

func immCI(c uint32) int32 { return signed(field(c, 12, 1, 5)|field(c, 2, 5, 0), 6) }
func immCL4(c uint32) int32 {
	return int32(field(c, 10, 3, 3) | field(c, 6, 1, 2) | field(c, 5, 1, 6))
}
func immCL8(c uint32) int32 { return int32(field(c, 10, 3, 3) | field(c, 5, 2, 6)) }
func immLSP4(c uint32) int32 {
	return int32(field(c, 12, 1, 5) | field(c, 4, 3, 2) | field(c, 2, 2, 6))
}
func immLSP8(c uint32) int32 {
	return int32(field(c, 12, 1, 5) | field(c, 5, 2, 3) | field(c, 2, 3, 6))
}
func immSSP4(c uint32) int32 { return int32(field(c, 9, 4, 2) | field(c, 7, 2, 6)) }
func immSSP8(c uint32) int32 { return int32(field(c, 10, 3, 3) | field(c, 7, 3, 6)) }
func immADDI4SPN(c uint32) int32 {
	return int32(field(c, 11, 2, 4) | field(c, 7, 4, 6) | field(c, 6, 1, 2) | field(c, 5, 1, 3))
}
func immADDI16SP(c uint32) int32 {
	return signed(field(c, 12, 1, 9)|field(c, 6, 1, 4)|field(c, 5, 1, 6)|field(c, 3, 2, 7)|field(c, 2, 1, 5), 10)
}
func immCJ(c uint32) int32 {
	return signed(field(c, 12, 1, 11)|field(c, 11, 1, 4)|field(c, 9, 2, 8)|field(c, 8, 1, 10)|
		field(c, 7, 1, 6)|field(c, 6, 1, 7)|field(c, 3, 3, 1)|field(c, 2, 1, 5), 12)
}
func immCB(c uint32) int32 {
	return signed(field(c, 12, 1, 8)|field(c, 10, 2, 3)|field(c, 5, 2, 6)|field(c, 3, 2, 1)|field(c, 2, 1, 5), 9)
}

// expand gives the 32-bit instruction that a compressed one stands for; 0, which is
// illegal, for those that are reserved (unprivileged specification, chapter 16).
func expand(parcel uint16) uint32 {
	c := uint32(parcel)
	switch c & 3 {
	case 0:
		return expand0(c)
	case 1:
		return expand1(c)
	default:
		return expand2(c)
	}
}

// expand0 is quadrant 0: loads and stores on the registers x8..x15.
func expand0(c uint32) uint32 {
	low, base := 8+c>>2&7, 8+c>>7&7
	switch c >> 13 {
	case 0:
		if imm := immADDI4SPN(c); imm != 0 {
			return encI(0x13, 0, low, 2, imm)
		}
	case 1:
		return encI(0x07, 3, low, base, immCL8(c)) // c.fld
	case 2:
		return encI(0x03, 2, low, base, immCL4(c)) // c.lw
	case 3:
		return encI(0x03, 3, low, base, immCL8(c)) // c.ld
	case 5:
		return encS(0x27, 3, base, low, immCL8(c)) // c.fsd
	case 6:
		return encS(0x23, 2, base, low, immCL4(c)) // c.sw
	case 7:
		return encS(0x23, 3, base, low, immCL8(c)) // c.sd
	}
	return 0
}

// expand1 is quadrant 1: immediates, jumps and branches.
func expand1(c uint32) uint32 {
	rd, low := c>>7&31, 8+c>>7&7
	switch c >> 13 {
	case 0:
		return encI(0x13, 0, rd, rd, immCI(c)) // c.addi, c.nop
	case 1:
		if rd != 0 {
			return encI(0x1b, 0, rd, rd, immCI(c)) // c.addiw
		}
	case 2:
		return encI(0x13, 0, rd, 0, immCI(c)) // c.li
	case 3:
		return expandLUI(c, rd)
	case 4:
		return expandALU(c, low)
	case 5:
		return encJ(0, immCJ(c)) // c.j
	case 6:
		return encB(0, low, 0, immCB(c)) // c.beqz
	case 7:
		return encB(1, low, 0, immCB(c)) // c.bnez
	}
	return 0
}

func expandLUI(c, rd uint32) uint32 {
	if rd == 2 {
		if imm := immADDI16SP(c); imm != 0 {
			return encI(0x13, 0, 2, 2, imm)
		}
		return 0
	}
	if imm := immCI(c); imm != 0 {
		return uint32(imm)<<12 | rd<<7 | 0x37
	}
	return 0
}

func expandALU(c, rd uint32) uint32 {
	shift := int32(field(c, 12, 1, 5) | field(c, 2, 5, 0))
	rs2 := 8 + c>>2&7
	switch c >> 10 & 3 {
	case 0:
		return encI(0x13, 5, rd, rd, shift) // c.srli
	case 1:
		return encI(0x13, 5, rd, rd, shift|0x400) // c.srai
	case 2:
		return encI(0x13, 7, rd, rd, immCI(c)) // c.andi
	}
	switch c>>10&4 | c>>5&3 {
	case 0:
		return encR(0x33, 0, 0x20, rd, rd, rs2) // c.sub
	case 1:
		return encR(0x33, 4, 0, rd, rd, rs2) // c.xor
	case 2:
		return encR(0x33, 6, 0, rd, rd, rs2) // c.or
	case 3:
		return encR(0x33, 7, 0, rd, rd, rs2) // c.and
	case 4:
		return encR(0x3b, 0, 0x20, rd, rd, rs2) // c.subw
	case 5:
		return encR(0x3b, 0, 0, rd, rd, rs2) // c.addw
	}
	return 0
}

// expand2 is quadrant 2: stack loads and stores, moves, register jumps.
func expand2(c uint32) uint32 {
	rd, rs2 := c>>7&31, c>>2&31
	switch c >> 13 {
	case 0:
		return encI(0x13, 1, rd, rd, int32(field(c, 12, 1, 5)|field(c, 2, 5, 0))) // c.slli
	case 1:
		return encI(0x07, 3, rd, 2, immLSP8(c)) // c.fldsp
	case 2:
		if rd != 0 {
			return encI(0x03, 2, rd, 2, immLSP4(c)) // c.lwsp
		}
	case 3:
		if rd != 0 {
			return encI(0x03, 3, rd, 2, immLSP8(c)) // c.ldsp
		}
	case 4:
		return expandJump(c, rd, rs2)
	case 5:
		return encS(0x27, 3, 2, rs2, immSSP8(c)) // c.fsdsp
	case 6:
		return encS(0x23, 2, 2, rs2, immSSP4(c)) // c.swsp
	case 7:
		return encS(0x23, 3, 2, rs2, immSSP8(c)) // c.sdsp
	}
	return 0
}

func expandJump(c, rd, rs2 uint32) uint32 {
	link := c >> 12 & 1
	switch {
	case rs2 != 0 && link == 0:
		return encR(0x33, 0, 0, rd, 0, rs2) // c.mv
	case rs2 != 0:
		return encR(0x33, 0, 0, rd, rd, rs2) // c.add
	case rd != 0:
		return encI(0x67, 0, link, rd, 0) // c.jr, c.jalr
	case link == 1:
		return 0x00100073 // c.ebreak
	}
	return 0
}
