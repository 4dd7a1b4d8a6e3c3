package softfloat

import "math/bits"

// Convert changes the format of a number.
func (e *Env) Convert(to, from Format, a uint64) uint64 {
	x := from.unpack(a)
	switch x.kind {
	case zero:
		return to.sign(x.neg)
	case infinite:
		return to.Infinity(x.neg)
	case finite:
		return e.pack(to, x.neg, x.exp, x.sig)
	}
	return e.nan(to, &x)
}

// FromInt converts a signed integer.
func (e *Env) FromInt(f Format, v int64) uint64 {
	if v < 0 {
		return e.fromMagnitude(f, true, -uint64(v))
	}
	return e.fromMagnitude(f, false, uint64(v))
}

// FromUint converts an unsigned integer.
func (e *Env) FromUint(f Format, v uint64) uint64 { return e.fromMagnitude(f, false, v) }

func (e *Env) fromMagnitude(f Format, neg bool, v uint64) uint64 {
	if v == 0 {
		return 0
	}
	shift := bits.LeadingZeros64(v)
	return e.pack(f, neg, 63-shift, v<<shift)
}

// ToInt converts to a signed integer of 32 or 64 bits; what does not fit is invalid and
// gives the nearest integer that does, a NaN the largest.
func (e *Env) ToInt(f Format, a uint64, width uint) int64 {
	largest := int64(1)<<(width-1) - 1
	x := f.unpack(a)
	if x.isNaN() {
		e.Flags |= Invalid
		return largest
	}
	v, inexact, fits := e.integer(&x)
	limit := uint64(largest)
	if x.neg {
		limit++
	}
	switch {
	case (!fits || v > limit) && x.neg:
		e.Flags |= Invalid
		return -largest - 1
	case !fits || v > limit:
		e.Flags |= Invalid
		return largest
	}
	e.Flags |= inexact
	if x.neg {
		return -int64(v)
	}
	return int64(v)
}

// ToUint converts to an unsigned integer of 32 or 64 bits, like ToInt; what rounds to
// below zero gives 0.
func (e *Env) ToUint(f Format, a uint64, width uint) uint64 {
	largest := ^uint64(0) >> (64 - width)
	x := f.unpack(a)
	if x.isNaN() {
		e.Flags |= Invalid
		return largest
	}
	v, inexact, fits := e.integer(&x)
	switch {
	case x.neg && (!fits || v != 0):
		e.Flags |= Invalid
		return 0
	case !fits || v > largest:
		e.Flags |= Invalid
		return largest
	}
	e.Flags |= inexact
	return v
}

// integer rounds to an integer and gives its magnitude; fits tells if that has 64 bits.
func (e *Env) integer(x *number) (v uint64, inexact Flags, fits bool) {
	switch {
	case x.kind == zero:
		return 0, 0, true
	case x.kind == infinite || x.exp > 63:
		return 0, 0, false
	case x.exp == 63:
		return x.sig, 0, true
	}
	// The integer part in hi, the fraction in lo.
	w := wide{x.sig, 0}.shiftRightJam(uint(63 - x.exp))
	if w.lo == 0 {
		return w.hi, 0, true
	}
	if e.roundsUp(x.neg, w) {
		w.hi++ // below 2^63 before
	}
	return w.hi, Inexact, true
}

// roundsUp tells if hi + lo/2^64, lo not 0, is rounded away from zero.
func (e *Env) roundsUp(neg bool, w wide) bool {
	const half = 1 << 63
	switch e.Rounding {
	case NearestEven:
		return w.lo > half || w.lo == half && w.hi&1 != 0
	case NearestMaxMagn:
		return w.lo >= half
	case Down:
		return neg
	case Up:
		return !neg
	}
	return false
}
