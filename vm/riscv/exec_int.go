package riscv

import "math/bits"

// Multiplication and division (unprivileged specification, chapter 7): no exceptions,
// division by zero gives all ones, overflow the dividend.

func mulh(a, b uint64) uint64 {
	hi, _ := bits.Mul64(a, b)
	return hi - b&uint64(int64(a)>>63) - a&uint64(int64(b)>>63)
}

func mulhsu(a, b uint64) uint64 {
	hi, _ := bits.Mul64(a, b)
	return hi - b&uint64(int64(a)>>63)
}

func mulhu(a, b uint64) uint64 {
	hi, _ := bits.Mul64(a, b)
	return hi
}

func div(a, b int64) uint64 {
	if b == 0 {
		return ^uint64(0)
	}
	return uint64(a / b) // Go defines the overflow as RISC-V does
}

func rem(a, b int64) uint64 {
	if b == 0 {
		return uint64(a)
	}
	return uint64(a % b)
}

func divu(a, b uint64) uint64 {
	if b == 0 {
		return ^uint64(0)
	}
	return a / b
}

func remu(a, b uint64) uint64 {
	if b == 0 {
		return a
	}
	return a % b
}

// word sign-extends the low 32 bits.
func word(v uint64) uint64 { return uint64(int64(int32(v))) }

func divw(a, b uint64) uint64 { return word(div(int64(int32(a)), int64(int32(b)))) }
func remw(a, b uint64) uint64 { return word(rem(int64(int32(a)), int64(int32(b)))) }

func divuw(a, b uint64) uint64 {
	if uint32(b) == 0 {
		return ^uint64(0)
	}
	return word(uint64(uint32(a) / uint32(b)))
}

func remuw(a, b uint64) uint64 {
	if uint32(b) == 0 {
		return word(a)
	}
	return word(uint64(uint32(a) % uint32(b)))
}

func bit(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}
