// Package softfloat is binary floating-point arithmetic of IEEE 754 with integers only:
// every rounding mode, every flag, on any host alike. It computes as RISC-V asks
// (unprivileged specification, chapters 11 and 12): NaN results are the canonical NaN,
// tininess is detected after rounding.
//
//	operand bits --unpack--> sign, exponent, 64-bit significand --+
//	                                                              | exact, or exact with
//	result bits <---pack---- rounded, flags  <--------------------+ a sticky lowest bit
//
// A [Format] says which of the two widths operands have; an [Env] has the rounding mode
// and gathers flags.
package softfloat

import "math/bits"

// Rounding is a rounding mode, numbered as in the frm register.
type Rounding uint8

const (
	NearestEven    Rounding = iota // RNE
	TowardZero                     // RTZ
	Down                           // RDN
	Up                             // RUP
	NearestMaxMagn                 // RMM: ties away from zero
)

// Flags are the accrued exceptions, as in the fflags register.
type Flags uint8

const (
	Inexact   Flags = 1 << iota // NX
	Underflow                   // UF
	Overflow                    // OF
	DivByZero                   // DZ
	Invalid                     // NV
)

// Env is the state that operations depend on and change.
type Env struct {
	Rounding Rounding
	Flags    Flags
}

// Format is the layout of a number: the width of its fraction field and the largest
// exponent, which is also the bias.
type Format struct {
	frac uint
	bias int
}

var (
	Single = Format{23, 127}
	Double = Format{52, 1023}
)

func (f Format) signShift() uint { return f.frac + expBits(f) }

func expBits(f Format) uint { return uint(bits.Len(uint(f.bias))) + 1 }

func (f Format) sign(neg bool) uint64 {
	if neg {
		return 1 << f.signShift()
	}
	return 0
}

// Infinity is the infinity of a sign.
func (f Format) Infinity(neg bool) uint64 {
	return f.sign(neg) | uint64(2*f.bias+1)<<f.frac
}

// NaN is the canonical NaN: positive, quiet, no payload.
func (f Format) NaN() uint64 { return f.Infinity(false) | 1<<(f.frac-1) }

func (f Format) largest(neg bool) uint64 { return f.Infinity(neg) - 1 }

// kind is what a number is.
type kind uint8

const (
	zero kind = iota
	finite
	infinite
	quietNaN
	signalingNaN
)

// number is an unpacked operand. A finite one has the value sig * 2^(exp-63), with bit 63
// of sig set.
type number struct {
	kind kind
	neg  bool
	exp  int
	sig  uint64
}

func (n *number) isNaN() bool { return n.kind >= quietNaN }

// unpack takes a number apart; subnormal ones become normalized.
func (f Format) unpack(v uint64) number {
	frac := v & (1<<f.frac - 1)
	exp := int(v >> f.frac & uint64(2*f.bias+1))
	n := number{neg: v>>f.signShift()&1 != 0}
	switch {
	case exp == 2*f.bias+1 && frac == 0:
		n.kind = infinite
	case exp == 2*f.bias+1 && frac>>(f.frac-1) != 0:
		n.kind = quietNaN
	case exp == 2*f.bias+1:
		n.kind = signalingNaN
	case exp != 0:
		n.kind, n.exp, n.sig = finite, exp-f.bias, (1<<f.frac|frac)<<(63-f.frac)
	case frac != 0:
		shift := bits.LeadingZeros64(frac)
		n.kind, n.exp, n.sig = finite, 1-f.bias+63-int(f.frac)-shift, frac<<shift
	}
	return n
}

// shiftRightJam shifts right; bit 0 of the result tells of ones that fell off.
func shiftRightJam(v uint64, n uint) uint64 {
	if n == 0 {
		return v
	}
	if n > 63 {
		return sticky(v)
	}
	return v>>n | sticky(v<<(64-n))
}

// sticky is 1 if v is not 0.
func sticky(v uint64) uint64 {
	if v != 0 {
		return 1
	}
	return 0
}

// round adds to sig what makes truncation of the lowest n bits a rounding.
func (e *Env) round(neg bool, sig uint64, n uint) (rounded uint64, carry bool) {
	mask, half := uint64(1)<<n-1, uint64(1)<<(n-1)
	var add uint64
	switch e.Rounding {
	case NearestEven, NearestMaxMagn:
		add = half
	case Down:
		if neg {
			add = mask
		}
	case Up:
		if !neg {
			add = mask
		}
	}
	sum, c := bits.Add64(sig, add, 0)
	if e.Rounding == NearestEven && sig&mask == half {
		sum &^= 1 << n
	}
	return sum &^ mask, c != 0
}

// pack rounds the number sig * 2^(exp-63) into the format. Bit 63 of sig is set; its
// lowest bit may be sticky.
func (e *Env) pack(f Format, neg bool, exp int, sig uint64) uint64 {
	extra := 63 - f.frac
	mask := uint64(1)<<extra - 1
	least := 1 - f.bias
	if exp < least {
		return e.packSubnormal(f, neg, least-exp, sig)
	}
	rounded, carry := e.round(neg, sig, extra)
	if carry {
		rounded, exp = 1<<63, exp+1
	}
	if exp > f.bias {
		return e.overflow(f, neg)
	}
	if sig&mask != 0 {
		e.Flags |= Inexact
	}
	return f.sign(neg) | uint64(exp+f.bias)<<f.frac | rounded<<1>>(extra+1)
}

// packSubnormal rounds a number below the least normal one by a factor of 2^below.
func (e *Env) packSubnormal(f Format, neg bool, below int, sig uint64) uint64 {
	extra := 63 - f.frac
	mask := uint64(1)<<extra - 1
	// Tiny after rounding: with exponents unbounded it would still be below.
	_, reaches := e.round(neg, sig, extra)
	tiny := below > 1 || !reaches
	sig = shiftRightJam(sig, uint(below))
	rounded, _ := e.round(neg, sig, extra)
	if sig&mask != 0 {
		e.Flags |= Inexact
		if tiny {
			e.Flags |= Underflow
		}
	}
	// A carry into the hidden bit is the exponent 1 of the least normal number.
	return f.sign(neg) | rounded>>extra
}

// overflow is the result of a number too large.
func (e *Env) overflow(f Format, neg bool) uint64 {
	e.Flags |= Overflow | Inexact
	switch {
	case e.Rounding == TowardZero, e.Rounding == Down && !neg, e.Rounding == Up && neg:
		return f.largest(neg)
	}
	return f.Infinity(neg)
}

// nan is the result of an operation with a NaN operand.
func (e *Env) nan(f Format, operands ...*number) uint64 {
	for _, n := range operands {
		if n.kind == signalingNaN {
			e.Flags |= Invalid
		}
	}
	return f.NaN()
}

// invalid is the result of an operation without a meaning.
func (e *Env) invalid(f Format) uint64 {
	e.Flags |= Invalid
	return f.NaN()
}

// exactZero is the result of a sum of opposites.
func (e *Env) exactZero(f Format) uint64 { return f.sign(e.Rounding == Down) }
