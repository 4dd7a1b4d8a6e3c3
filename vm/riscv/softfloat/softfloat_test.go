package softfloat

import (
	"math"
	"math/big"
	"math/rand/v2"
	"testing"
)

// Arithmetic is checked in three ways: against the host where it rounds to nearest even;
// against big.Float in the other modes; and, in package riscv, against QEMU with flags.

// interesting gives doubles of all kinds, half of them special or close to one another.
func interesting(r *rand.Rand) uint64 {
	special := []uint64{
		0, 1 << 63, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001, 0xfff8000000000123,
		1, 2, 3, 0x000fffffffffffff, 0x0010000000000000, 0x0010000000000001, 0x7fefffffffffffff, 0x3ff0000000000000,
		0x3ff0000000000001, 0x3fefffffffffffff, 0xbff0000000000000, 0x4340000000000000, 0x433fffffffffffff,
	}
	switch r.IntN(4) {
	case 0:
		return special[r.IntN(len(special))]
	case 1: // around 1
		return r.Uint64()&^(0x7f<<56) | 0x3f<<56
	case 2: // few bits, so that results are exact or ties
		return r.Uint64() & (1<<63 | 0x7ff<<52 | 0xf<<48 | r.Uint64()&r.Uint64()&r.Uint64()&(1<<52-1))
	}
	return r.Uint64()
}

func isNaN(v uint64) bool { return math.IsNaN(math.Float64frombits(v)) }

// same compares with the host, whose NaNs have other bits.
func same(got, want uint64) bool {
	if isNaN(want) {
		return got == Double.NaN()
	}
	return got == want
}

func TestDoubleLikeHost(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	fl, bits := math.Float64frombits, math.Float64bits
	for range 300_000 {
		a, b, c := interesting(r), interesting(r), interesting(r)
		var e Env
		for _, op := range []struct {
			name      string
			got, want uint64
		}{
			{"add", e.Add(Double, a, b), bits(fl(a) + fl(b))},
			{"sub", e.Sub(Double, a, b), bits(fl(a) - fl(b))},
			{"mul", e.Mul(Double, a, b), bits(fl(a) * fl(b))},
			{"div", e.Div(Double, a, b), bits(fl(a) / fl(b))},
			{"sqrt", e.Sqrt(Double, a), bits(math.Sqrt(fl(a)))},
			{"fma", e.MulAdd(Double, a, b, c), bits(math.FMA(fl(a), fl(b), fl(c)))},
		} {
			if !same(op.got, op.want) {
				t.Fatalf("%s of %#x, %#x, %#x: %#x, want %#x", op.name, a, b, c, op.got, op.want)
			}
		}
	}
}

func TestSingleLikeHost(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	fl := func(v uint64) float32 { return math.Float32frombits(uint32(v)) }
	bits := func(v float32) uint64 { return uint64(math.Float32bits(v)) }
	for range 300_000 {
		a, b := uint64(r.Uint32()), uint64(r.Uint32())
		if r.IntN(2) == 0 { // comparable exponents
			b = b&^(0xff<<23) | a&(0xff<<23)
		}
		var e Env
		for _, op := range []struct {
			name      string
			got, want uint64
		}{
			{"add", e.Add(Single, a, b), bits(fl(a) + fl(b))},
			{"mul", e.Mul(Single, a, b), bits(fl(a) * fl(b))},
			{"div", e.Div(Single, a, b), bits(fl(a) / fl(b))},
			{"sqrt", e.Sqrt(Single, a), bits(float32(math.Sqrt(float64(fl(a)))))},
			{"widen", e.Convert(Double, Single, a), math.Float64bits(float64(fl(a)))},
			{"narrow", e.Convert(Single, Double, math.Float64bits(float64(fl(a))/3)), bits(float32(float64(fl(a)) / 3))},
		} {
			nan := Single.NaN()
			if op.name == "widen" {
				nan = Double.NaN()
			}
			if op.got != op.want && (!math.IsNaN(float64(fl(a))) && !math.IsNaN(float64(fl(op.want))) || op.got != nan) {
				t.Fatalf("%s of %#x, %#x: %#x, want %#x", op.name, a, b, op.got, op.want)
			}
		}
	}
}

var bigModes = map[Rounding]big.RoundingMode{
	NearestEven: big.ToNearestEven, TowardZero: big.ToZero, Down: big.ToNegativeInf, Up: big.ToPositiveInf,
	NearestMaxMagn: big.ToNearestAway,
}

// TestRoundingLikeBig compares normal results in all modes with exact ones that package
// big rounds, and the inexact flag with whether that changed them.
func TestRoundingLikeBig(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	num := func() uint64 { return r.Uint64()&^(0x7f<<56) | 0x3f<<56 }
	exact := func(v uint64) *big.Float {
		return new(big.Float).SetPrec(4000).SetFloat64(math.Float64frombits(v))
	}
	for range 30_000 {
		a, b, c := num(), num(), num()
		x, y, z := exact(a), exact(b), exact(c)
		for mode, bigMode := range bigModes {
			for _, op := range []struct {
				name string
				got  func(e *Env) uint64
				want *big.Float
			}{
				{"add", func(e *Env) uint64 { return e.Add(Double, a, b) }, exact(0).Add(x, y)},
				{"mul", func(e *Env) uint64 { return e.Mul(Double, a, b) }, exact(0).Mul(x, y)},
				{"fma", func(e *Env) uint64 { return e.MulAdd(Double, a, b, c) }, exact(0).Add(exact(0).Mul(x, y), z)},
			} {
				if op.want.Sign() == 0 {
					continue
				}
				e := Env{Rounding: mode}
				got := op.got(&e)
				rounded := new(big.Float).SetPrec(53).SetMode(bigMode).Set(op.want)
				want, _ := rounded.Float64()
				if got != math.Float64bits(want) || (e.Flags == Inexact) != (rounded.Cmp(op.want) != 0) {
					t.Fatalf("%s of %#x, %#x, %#x, mode %d: %#x flags %#x, want %#x", op.name, a, b, c, mode, got, e.Flags,
						math.Float64bits(want))
				}
			}
		}
	}
}

// TestFlags pins results and flags at the borders.
func TestFlags(t *testing.T) {
	const (
		one, two, three = 0x3ff0000000000000, 0x4000000000000000, 0x4008000000000000
		largest         = 0x7fefffffffffffff
		least           = 0x0010000000000000 // normal
		tiny            = 1
		inf, negInf     = 0x7ff0000000000000, 0xfff0000000000000
		negZero         = 1 << 63
		snan, qnan      = 0x7ff0000000000001, 0x7ff8000000000000
		justBelow2      = 0x3fffffffffffffff
		half            = 0x3fe0000000000000
	)
	for _, c := range []struct {
		name string
		mode Rounding
		op   func(e *Env) uint64
		want uint64
		flag Flags
	}{
		{"1+1", NearestEven, func(e *Env) uint64 { return e.Add(Double, one, one) }, two, 0},
		{"1-1", NearestEven, func(e *Env) uint64 { return e.Sub(Double, one, one) }, 0, 0},
		{"1-1 down", Down, func(e *Env) uint64 { return e.Sub(Double, one, one) }, negZero, 0},
		{"0 + -0 down", Down, func(e *Env) uint64 { return e.Add(Double, 0, negZero) }, negZero, 0},
		{"-0 + -0", NearestEven, func(e *Env) uint64 { return e.Add(Double, negZero, negZero) }, negZero, 0},
		{"inf-inf", NearestEven, func(e *Env) uint64 { return e.Sub(Double, inf, inf) }, qnan, Invalid},
		{"snan+1", NearestEven, func(e *Env) uint64 { return e.Add(Double, snan, one) }, qnan, Invalid},
		{"qnan+1", NearestEven, func(e *Env) uint64 { return e.Add(Double, qnan|5, one) }, qnan, 0},
		{"1/0", NearestEven, func(e *Env) uint64 { return e.Div(Double, one, negZero) }, negInf, DivByZero},
		{"0/0", NearestEven, func(e *Env) uint64 { return e.Div(Double, 0, 0) }, qnan, Invalid},
		{"1/3", NearestEven, func(e *Env) uint64 { return e.Div(Double, one, three) }, 0x3fd5555555555555, Inexact},
		{"1/3 up", Up, func(e *Env) uint64 { return e.Div(Double, one, three) }, 0x3fd5555555555556, Inexact},
		{"overflow", NearestEven, func(e *Env) uint64 { return e.Add(Double, largest, largest) }, inf, Overflow | Inexact},
		{"overflow to zero", TowardZero, func(e *Env) uint64 { return e.Add(Double, largest, largest) }, largest, Overflow | Inexact},
		{"overflow down", Down, func(e *Env) uint64 { return e.Mul(Double, largest, negInf^inf|two) }, negInf, Overflow | Inexact},
		{"tiny/2", NearestEven, func(e *Env) uint64 { return e.Mul(Double, tiny, half) }, 0, Underflow | Inexact},
		{"tiny/2 up", Up, func(e *Env) uint64 { return e.Mul(Double, tiny, half) }, tiny, Underflow | Inexact},
		{"tiny/2 away", NearestMaxMagn, func(e *Env) uint64 { return e.Mul(Double, tiny, half) }, tiny, Underflow | Inexact},
		{"exact subnormal", NearestEven, func(e *Env) uint64 { return e.Mul(Double, least, half) }, least >> 1, 0},
		// Rounds up to the least normal number; with exponents unbounded it would not be tiny.
		{"not tiny after rounding", NearestEven, func(e *Env) uint64 {
			return e.MulAdd(Double, 0x000fffffffffffff, one, 0x0000000000000000|tiny)
		}, least, 0},
		{"tiny after rounding", NearestEven, func(e *Env) uint64 { return e.Mul(Double, 0x001fffffffffffff, half) }, least, Underflow | Inexact},
		{"inf*0+qnan", NearestEven, func(e *Env) uint64 { return e.MulAdd(Double, inf, 0, qnan) }, qnan, Invalid},
		{"sqrt -1", NearestEven, func(e *Env) uint64 { return e.Sqrt(Double, one|negZero) }, qnan, Invalid},
		{"sqrt -0", NearestEven, func(e *Env) uint64 { return e.Sqrt(Double, negZero) }, negZero, 0},
		{"sqrt 2", NearestEven, func(e *Env) uint64 { return e.Sqrt(Double, two) }, 0x3ff6a09e667f3bcd, Inexact},
		{"min of snan and 1", NearestEven, func(e *Env) uint64 { return e.Min(Double, snan, one) }, one, Invalid},
		{"min of nans", NearestEven, func(e *Env) uint64 { return e.Min(Double, qnan|7, qnan|9) }, qnan, 0},
		{"min of zeros", NearestEven, func(e *Env) uint64 { return e.Min(Double, 0, negZero) }, negZero, 0},
		{"max of zeros", NearestEven, func(e *Env) uint64 { return e.Max(Double, negZero, 0) }, 0, 0},
		{"narrow", NearestEven, func(e *Env) uint64 { return e.Convert(Single, Double, justBelow2) }, 0x40000000, Inexact},
		{"int -1.5", NearestEven, func(e *Env) uint64 { return uint64(e.ToInt(Double, 0xbff8000000000000, 64)) }, ^uint64(1), Inexact},
		{"int -1.5 zero", TowardZero, func(e *Env) uint64 { return uint64(e.ToInt(Double, 0xbff8000000000000, 64)) }, ^uint64(0), Inexact},
		{"uint -0.5", NearestEven, func(e *Env) uint64 { return e.ToUint(Double, half|negZero, 64) }, 0, Inexact},
		{"uint -0.5 down", Down, func(e *Env) uint64 { return e.ToUint(Double, half|negZero, 64) }, 0, Invalid},
		{"int 2^63", NearestEven, func(e *Env) uint64 { return uint64(e.ToInt(Double, 0x43e0000000000000, 64)) }, 1<<63 - 1, Invalid},
		{"int -2^63", NearestEven, func(e *Env) uint64 { return uint64(e.ToInt(Double, 0xc3e0000000000000, 64)) }, 1 << 63, 0},
		{"uint 2^63", NearestEven, func(e *Env) uint64 { return e.ToUint(Double, 0x43e0000000000000, 64) }, 1 << 63, 0},
		{"uint 2^64", NearestEven, func(e *Env) uint64 { return e.ToUint(Double, 0x43f0000000000000, 64) }, ^uint64(0), Invalid},
		{"int32 of nan", NearestEven, func(e *Env) uint64 { return uint64(e.ToInt(Double, qnan, 32)) }, 1<<31 - 1, Invalid},
		{"int32 -2^31", NearestEven, func(e *Env) uint64 { return uint64(e.ToInt(Double, 0xc1e0000000000000, 32)) }, ^uint64(1<<31 - 1), 0},
		{"from 2^64-1 up", Up, func(e *Env) uint64 { return e.FromUint(Double, ^uint64(0)) }, 0x43f0000000000000, Inexact},
		{"from -2^63", NearestEven, func(e *Env) uint64 { return e.FromInt(Double, -1<<63) }, 0xc3e0000000000000, 0},
	} {
		e := Env{Rounding: c.mode}
		if got := c.op(&e); got != c.want || e.Flags != c.flag {
			t.Errorf("%s: %#x, flags %#x; want %#x, %#x", c.name, got, e.Flags, c.want, c.flag)
		}
	}
}

func TestCompare(t *testing.T) {
	const one, two, snan, qnan = 0x3f800000, 0x40000000, 0x7f800001, 0x7fc00000
	for _, c := range []struct {
		a, b       uint64
		eq, lt, le bool
		eqF, ltF   Flags
	}{
		{one, two, false, true, true, 0, 0},
		{two, one, false, false, false, 0, 0},
		{one, one, true, false, true, 0, 0},
		{0, 1 << 31, true, false, true, 0, 0},
		{one | 1<<31, two | 1<<31, false, false, false, 0, 0},
		{one, qnan, false, false, false, 0, Invalid},
		{snan, one, false, false, false, Invalid, Invalid},
	} {
		var eq, lt, le Env
		if eq.Equal(Single, c.a, c.b) != c.eq || lt.Less(Single, c.a, c.b) != c.lt || le.LessEqual(Single, c.a, c.b) != c.le ||
			eq.Flags != c.eqF || lt.Flags != c.ltF || le.Flags != c.ltF {
			t.Errorf("%#x, %#x: flags %#x %#x %#x", c.a, c.b, eq.Flags, lt.Flags, le.Flags)
		}
	}
}

func TestClass(t *testing.T) {
	for i, v := range []uint64{
		0xff800000, 0xbf800000, 0x80000001, 0x80000000, 0, 0x007fffff, 0x00800000, 0x7f800000, 0x7f800001, 0x7fc00000,
	} {
		if got := Single.Class(v); got != i {
			t.Errorf("class of %#x is %d, want %d", v, got, i)
		}
	}
	if got := Single.Class(0xffc00001); got != ClassQuietNaN {
		t.Errorf("class of a negative NaN is %d", got)
	}
}

// FuzzDouble compares with the host.
func FuzzDouble(f *testing.F) {
	f.Add(uint64(1), uint64(0x3fe0000000000000), uint64(0x8000000000000000))
	f.Add(uint64(0x7fefffffffffffff), uint64(0x3ff0000000000001), uint64(0xffefffffffffffff))
	fl, bits := math.Float64frombits, math.Float64bits
	f.Fuzz(func(t *testing.T, a, b, c uint64) {
		var e Env
		for name, v := range map[string][2]uint64{
			"add":  {e.Add(Double, a, b), bits(fl(a) + fl(b))},
			"mul":  {e.Mul(Double, a, b), bits(fl(a) * fl(b))},
			"div":  {e.Div(Double, a, b), bits(fl(a) / fl(b))},
			"sqrt": {e.Sqrt(Double, a), bits(math.Sqrt(fl(a)))},
			"fma":  {e.MulAdd(Double, a, b, c), bits(math.FMA(fl(a), fl(b), fl(c)))},
		} {
			if !same(v[0], v[1]) {
				t.Errorf("%s of %#x, %#x, %#x: %#x, want %#x", name, a, b, c, v[0], v[1])
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	var e Env
	v := uint64(0x3ff123456789abcd)
	for b.Loop() {
		v = e.Add(Double, v, 0x3ca0000000000001)
	}
}

func BenchmarkMulAdd(b *testing.B) {
	var e Env
	v := uint64(0x3ff123456789abcd)
	for b.Loop() {
		v = e.MulAdd(Double, v, 0x3fe0000000000001, 0x3fe0000000000001)
	}
}
