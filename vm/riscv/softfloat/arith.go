package softfloat

import (
	"math"
	"math/bits"
)

// wide is an unsigned integer of 128 bits.
type wide struct{ hi, lo uint64 }

func (w wide) isZero() bool { return w.hi|w.lo == 0 }

func (w wide) less(v wide) bool { return w.hi < v.hi || w.hi == v.hi && w.lo < v.lo }

func (w wide) add(v wide) (sum wide, carry uint64) {
	sum.lo, carry = bits.Add64(w.lo, v.lo, 0)
	sum.hi, carry = bits.Add64(w.hi, v.hi, carry)
	return sum, carry
}

func (w wide) sub(v wide) wide {
	lo, borrow := bits.Sub64(w.lo, v.lo, 0)
	hi, _ := bits.Sub64(w.hi, v.hi, borrow)
	return wide{hi, lo}
}

func (w wide) shiftRightJam(n uint) wide {
	switch {
	case n == 0:
		return w
	case n < 64:
		return wide{w.hi >> n, w.lo>>n | w.hi<<(64-n) | sticky(w.lo<<(64-n))}
	case n < 128:
		return wide{0, shiftRightJam(w.hi, n-64) | sticky(w.lo)}
	}
	return wide{0, sticky(w.hi | w.lo)}
}

// normalize shifts bit 127 full; w is not 0.
func (w wide) normalize() (_ wide, shift int) {
	if w.hi == 0 {
		w, shift = wide{w.lo, 0}, 64
	}
	n := bits.LeadingZeros64(w.hi)
	return wide{w.hi<<n | w.lo>>(64-n), w.lo << n}, shift + n
}

// jam folds the lower half into the lowest bit of the upper.
func (w wide) jam() uint64 { return w.hi | sticky(w.lo) }

// term is a finite number whose significand has 128 bits: sig * 2^(exp-127).
type term struct {
	neg bool
	exp int
	sig wide
}

func (n *number) term() term { return term{n.neg, n.exp, wide{n.sig, 0}} }

// sum adds two terms that are not 0.
func (e *Env) sum(f Format, a, b term) uint64 {
	if a.exp < b.exp || a.exp == b.exp && a.sig.less(b.sig) {
		a, b = b, a
	}
	b.sig = b.sig.shiftRightJam(uint(a.exp - b.exp))
	if a.neg == b.neg {
		s, carry := a.sig.add(b.sig)
		if carry != 0 {
			s = s.shiftRightJam(1)
			s.hi |= 1 << 63
			a.exp++
		}
		return e.pack(f, a.neg, a.exp, s.jam())
	}
	d := a.sig.sub(b.sig)
	if d.isZero() {
		return e.exactZero(f)
	}
	d, shift := d.normalize()
	return e.pack(f, a.neg, a.exp-shift, d.jam())
}

// Add returns a + b.
func (e *Env) Add(f Format, a, b uint64) uint64 {
	x, y := f.unpack(a), f.unpack(b)
	switch {
	case x.isNaN() || y.isNaN():
		return e.nan(f, &x, &y)
	case x.kind == infinite && y.kind == infinite && x.neg != y.neg:
		return e.invalid(f)
	case x.kind == infinite:
		return a
	case y.kind == infinite:
		return b
	case x.kind == zero && y.kind == zero && x.neg != y.neg:
		return e.exactZero(f)
	case x.kind == zero:
		return b
	case y.kind == zero:
		return a
	}
	return e.sum(f, x.term(), y.term())
}

// Sub returns a - b.
func (e *Env) Sub(f Format, a, b uint64) uint64 {
	// The sign of a NaN does not matter.
	return e.Add(f, a, b^f.sign(true))
}

// Mul returns a * b.
func (e *Env) Mul(f Format, a, b uint64) uint64 {
	x, y := f.unpack(a), f.unpack(b)
	neg := x.neg != y.neg
	switch {
	case x.isNaN() || y.isNaN():
		return e.nan(f, &x, &y)
	case x.kind == infinite && y.kind == zero, x.kind == zero && y.kind == infinite:
		return e.invalid(f)
	case x.kind == infinite || y.kind == infinite:
		return f.Infinity(neg)
	case x.kind == zero || y.kind == zero:
		return f.sign(neg)
	}
	p := product(&x, &y)
	return e.pack(f, p.neg, p.exp, p.sig.jam())
}

// product multiplies two finite numbers exactly.
func product(x, y *number) term {
	hi, lo := bits.Mul64(x.sig, y.sig)
	w, shift := wide{hi, lo}.normalize()
	return term{x.neg != y.neg, x.exp + y.exp + 1 - shift, w}
}

// MulAdd returns a*b + c, rounded once. The product of zero and infinity is invalid even
// if c is a NaN.
func (e *Env) MulAdd(f Format, a, b, c uint64) uint64 {
	x, y, z := f.unpack(a), f.unpack(b), f.unpack(c)
	neg := x.neg != y.neg
	meaningless := x.kind == infinite && y.kind == zero || x.kind == zero && y.kind == infinite
	switch {
	case meaningless:
		return e.invalid(f)
	case x.isNaN() || y.isNaN() || z.isNaN():
		return e.nan(f, &x, &y, &z)
	case x.kind == infinite || y.kind == infinite:
		if z.kind == infinite && z.neg != neg {
			return e.invalid(f)
		}
		return f.Infinity(neg)
	case z.kind == infinite:
		return c
	case x.kind == zero || y.kind == zero:
		if z.kind == zero && z.neg != neg {
			return e.exactZero(f)
		}
		return c
	}
	p := product(&x, &y)
	if z.kind == zero {
		return e.pack(f, p.neg, p.exp, p.sig.jam())
	}
	return e.sum(f, p, z.term())
}

// Div returns a / b.
func (e *Env) Div(f Format, a, b uint64) uint64 {
	x, y := f.unpack(a), f.unpack(b)
	neg := x.neg != y.neg
	switch {
	case x.isNaN() || y.isNaN():
		return e.nan(f, &x, &y)
	case x.kind == infinite && y.kind == infinite, x.kind == zero && y.kind == zero:
		return e.invalid(f)
	case x.kind == infinite:
		return f.Infinity(neg)
	case y.kind == infinite || x.kind == zero:
		return f.sign(neg)
	case y.kind == zero:
		e.Flags |= DivByZero
		return f.Infinity(neg)
	}
	// Half of x's significand over y's lies between 1/4 and 1: the quotient has 63 or 64 bits.
	q, r := bits.Div64(x.sig>>1, x.sig<<63, y.sig)
	exp := x.exp - y.exp
	if q>>63 == 0 {
		q, exp = q<<1, exp-1
	}
	return e.pack(f, neg, exp, q|sticky(r))
}

// Sqrt returns the square root of a.
func (e *Env) Sqrt(f Format, a uint64) uint64 {
	x := f.unpack(a)
	switch {
	case x.isNaN():
		return e.nan(f, &x)
	case x.kind == zero:
		return a
	case x.neg:
		return e.invalid(f)
	case x.kind == infinite:
		return a
	}
	// sig << k with an even exponent, between 2^124 and 2^126.
	k := uint(61)
	if (x.exp-63-int(k))&1 != 0 {
		k++
	}
	n := wide{x.sig >> (64 - k), x.sig << k}
	root, exact := isqrt(n)
	exp := (x.exp-63-int(k))/2 + 62
	root <<= 1
	if !exact {
		root |= 1
	}
	return e.pack(f, false, exp, root)
}

// isqrt is the integer square root of n, between 2^124 and 2^126. The host's root is good
// to 52 bits; one step of Newton's method doubles that, and a step or two of one mends the
// rest.
func isqrt(n wide) (root uint64, exact bool) {
	r := uint64(math.Sqrt(float64(n.hi)) * (1 << 32))
	q, _ := bits.Div64(n.hi, n.lo, r)
	r = r/2 + q/2 + r&q&1
	for {
		hi, lo := bits.Mul64(r, r)
		square := wide{hi, lo}
		if n.less(square) {
			r--
			continue
		}
		rest := n.sub(square)
		// (r+1)^2 = r^2 + 2r + 1
		if rest.hi == 0 && rest.lo <= 2*r {
			return r, rest.lo == 0
		}
		r++
	}
}
