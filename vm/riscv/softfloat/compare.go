package softfloat

// Classes, by bit, as FCLASS numbers them (unprivileged specification, 11.9).
const (
	ClassNegInfinity = iota
	ClassNegNormal
	ClassNegSubnormal
	ClassNegZero
	ClassPosZero
	ClassPosSubnormal
	ClassPosNormal
	ClassPosInfinity
	ClassSignalingNaN
	ClassQuietNaN
)

// Class returns the number of a's class.
func (f Format) Class(a uint64) int {
	x := f.unpack(a)
	class := ClassPosZero
	switch x.kind {
	case signalingNaN:
		return ClassSignalingNaN
	case quietNaN:
		return ClassQuietNaN
	case infinite:
		class = ClassPosInfinity
	case finite:
		class = ClassPosNormal
		if x.exp < 1-f.bias {
			class = ClassPosSubnormal
		}
	}
	if x.neg { // negative classes mirror the positive ones
		return ClassPosInfinity - class
	}
	return class
}

// Equal tells if a == b; only a signaling NaN is invalid.
func (e *Env) Equal(f Format, a, b uint64) bool {
	x, y := f.unpack(a), f.unpack(b)
	if x.isNaN() || y.isNaN() {
		e.nan(f, &x, &y)
		return false
	}
	return a == b || x.kind == zero && y.kind == zero
}

// Less tells if a < b; any NaN is invalid.
func (e *Env) Less(f Format, a, b uint64) bool {
	return e.ordered(f, a, b) && f.less(a, b)
}

// LessEqual tells if a <= b; any NaN is invalid.
func (e *Env) LessEqual(f Format, a, b uint64) bool {
	return e.ordered(f, a, b) && !f.less(b, a)
}

func (e *Env) ordered(f Format, a, b uint64) bool {
	x, y := f.unpack(a), f.unpack(b)
	if x.isNaN() || y.isNaN() {
		e.Flags |= Invalid
		return false
	}
	return true
}

// less compares numbers that are no NaNs: their bits are sign and magnitude.
func (f Format) less(a, b uint64) bool { return f.order(a) < f.order(b) }

// order maps numbers to integers of the same order, both zeros to 0.
func (f Format) order(a uint64) int64 {
	magnitude := int64(a &^ f.sign(true))
	if a&f.sign(true) != 0 {
		return -magnitude
	}
	return magnitude
}

// Min returns the smaller number; -0 is below +0, and a NaN gives way to the other
// operand.
func (e *Env) Min(f Format, a, b uint64) uint64 {
	return e.pick(f, a, b, f.less(a, b) || f.order(a) == f.order(b) && a&f.sign(true) != 0)
}

// Max returns the larger number.
func (e *Env) Max(f Format, a, b uint64) uint64 {
	return e.pick(f, a, b, f.less(b, a) || f.order(a) == f.order(b) && a&f.sign(true) == 0)
}

// pick chooses a or b, unless one is a NaN.
func (e *Env) pick(f Format, a, b uint64, first bool) uint64 {
	x, y := f.unpack(a), f.unpack(b)
	if x.kind == signalingNaN || y.kind == signalingNaN {
		e.Flags |= Invalid
	}
	switch {
	case x.isNaN() && y.isNaN():
		return f.NaN()
	case x.isNaN():
		return b
	case y.isNaN() || first:
		return a
	}
	return b
}
