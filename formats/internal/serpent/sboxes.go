package serpent

// The S-boxes and their inverses, in algebraic normal form: each bit of the result is a sum
// (^) of products (&) of the bits a to d, the lowest first. The same is done for the 32
// places of words at once, in a time that does not depend on the data. The test compares
// them with the tables of the proposal's appendix.

var (
	forward  = [8]func(x *[4]uint32){s0, s1, s2, s3, s4, s5, s6, s7}
	backward = [8]func(x *[4]uint32){i0, i1, i2, i3, i4, i5, i6, i7}
)

func s0(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd := a&b, a&c, b&c, a&d, b&d
	abc, acd, bcd := bc&a, ad&c, bd&c
	x[0] = ^(a ^ ab ^ c ^ ac ^ bc ^ abc ^ d ^ acd ^ bcd)
	x[1] = ^(a ^ ac ^ bc ^ abc ^ bd ^ acd ^ bcd)
	x[2] = b ^ ab ^ ac ^ abc ^ d ^ bd ^ bcd
	x[3] = a ^ b ^ c ^ d ^ ad
}

func i0(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abd, acd, bcd := bd&a, cd&a, cd&b
	x[0] = ^(ab ^ c ^ bc ^ ad ^ bd ^ abd ^ cd ^ acd ^ bcd)
	x[1] = a ^ b ^ c ^ ac ^ bd ^ acd ^ bcd
	x[2] = ^(a ^ b ^ ab ^ c ^ d)
	x[3] = ^(a ^ bc ^ d ^ abd ^ cd ^ acd ^ bcd)
}

func s1(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abd, acd, bcd := bd&a, cd&a, cd&b
	x[0] = ^(a ^ b ^ bc ^ ad ^ cd ^ acd ^ bcd)
	x[1] = ^(a ^ ab ^ c ^ ac ^ d ^ bd ^ abd ^ acd ^ bcd)
	x[2] = ^(b ^ ab ^ c ^ d)
	x[3] = ^(b ^ ac ^ d ^ ad ^ abd ^ acd ^ bcd)
}

func i1(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd := a&b, a&c, b&c, a&d, b&d
	abc, acd, bcd := bc&a, ad&c, bd&c
	x[0] = ^(a ^ b ^ ab ^ abc ^ bd ^ acd ^ bcd)
	x[1] = b ^ c ^ abc ^ d ^ ad ^ bd ^ acd ^ bcd
	x[2] = ^(a ^ b ^ ac ^ bc ^ abc ^ d ^ acd)
	x[3] = a ^ c ^ d ^ bd
}

func s2(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ac, bc, ad, bd, cd := a&c, b&c, a&d, b&d, c&d
	abc, abd, acd := bc&a, bd&a, cd&a
	x[0] = b ^ c ^ ac ^ d
	x[1] = a ^ b ^ c ^ bc ^ abc ^ ad ^ abd ^ cd ^ acd
	x[2] = a ^ b ^ bc ^ d ^ bd ^ abd ^ cd ^ acd
	x[3] = ^(a ^ b ^ c ^ abc ^ bd)
}

func i2(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, bc, ad, bd, cd := a&b, b&c, a&d, b&d, c&d
	abc, abd, acd := bc&a, bd&a, cd&a
	x[0] = a ^ b ^ c ^ bc ^ bd
	x[1] = b ^ ab ^ c ^ ad ^ abd ^ cd ^ acd
	x[2] = ^(a ^ ab ^ c ^ d ^ ad ^ bd ^ abd ^ acd)
	x[3] = ^(ab ^ bc ^ abc ^ d ^ acd)
}

func s3(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abc, abd, acd, bcd := bc&a, bd&a, cd&a, cd&b
	x[0] = a ^ b ^ bc ^ d ^ ad ^ cd ^ acd ^ bcd
	x[1] = a ^ b ^ ac ^ ad ^ abd ^ cd ^ acd
	x[2] = a ^ ab ^ c ^ abc ^ d ^ bd ^ abd
	x[3] = a ^ b ^ ab ^ c ^ ac ^ abc ^ d ^ cd ^ acd
}

func i3(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abc, abd, acd, bcd := bc&a, bd&a, cd&a, cd&b
	x[0] = a ^ c ^ bc ^ d ^ ad ^ bd ^ bcd
	x[1] = b ^ c ^ bc ^ abc ^ d ^ ad ^ acd ^ bcd
	x[2] = ab ^ ac ^ bc ^ ad ^ bd ^ abd ^ cd ^ acd
	x[3] = a ^ b ^ c ^ ac ^ abc ^ ad ^ abd ^ cd
}

func s4(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abc, abd, acd, bcd := bc&a, bd&a, cd&a, cd&b
	x[0] = ^(b ^ ab ^ c ^ d ^ ad ^ bd)
	x[1] = a ^ ac ^ bc ^ d ^ bd ^ cd ^ acd ^ bcd
	x[2] = a ^ ab ^ c ^ bc ^ abc ^ bd ^ abd ^ cd ^ bcd
	x[3] = a ^ b ^ c ^ bc ^ ad ^ bd ^ abd
}

func i4(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, ad, bd, cd := a&b, a&c, a&d, b&d, c&d
	abc, abd, acd := ac&b, bd&a, cd&a
	x[0] = ^(a ^ b ^ c ^ d ^ ad ^ abd ^ cd ^ acd)
	x[1] = ab ^ c ^ ac ^ d ^ ad ^ acd
	x[2] = ^(a ^ b ^ ab ^ c ^ ac ^ abc ^ d ^ bd ^ abd)
	x[3] = b ^ ab ^ c ^ ad ^ abd ^ cd
}

func s5(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, ad, bd, cd := a&b, a&c, a&d, b&d, c&d
	abc, abd, acd, bcd := ac&b, bd&a, cd&a, cd&b
	x[0] = ^(b ^ ab ^ c ^ d ^ ad ^ bd)
	x[1] = ^(a ^ ab ^ c ^ d ^ bd ^ abd ^ cd)
	x[2] = ^(b ^ ac ^ d ^ abd ^ cd ^ acd ^ bcd)
	x[3] = ^(a ^ b ^ c ^ abc ^ d ^ ad ^ acd)
}

func i5(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd := a&b, a&c, b&c, a&d, b&d
	abc, abd, acd := bc&a, bd&a, ad&c
	x[0] = a ^ bc ^ d ^ abd
	x[1] = a ^ b ^ ac ^ bc ^ abc ^ d ^ ad ^ abd
	x[2] = a ^ ab ^ c ^ bd ^ abd ^ acd
	x[3] = ^(b ^ ab ^ c ^ abc ^ ad)
}

func s6(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abc, abd, bcd := bc&a, bd&a, cd&b
	x[0] = ^(a ^ b ^ c ^ ac ^ bc ^ abc ^ d ^ abd ^ bcd)
	x[1] = ^(b ^ c ^ ad)
	x[2] = ^(a ^ ab ^ c ^ bc ^ abc ^ bd ^ abd ^ cd ^ bcd)
	x[3] = b ^ ab ^ c ^ ac ^ abc ^ d ^ cd ^ bcd
}

func i6(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abc, abd, bcd := bc&a, bd&a, cd&b
	x[0] = ^(a ^ ab ^ ac ^ bc ^ abc ^ d ^ abd ^ bcd)
	x[1] = ^(b ^ c ^ ac ^ d)
	x[2] = ^(a ^ b ^ bc ^ bd ^ abd ^ cd ^ bcd)
	x[3] = ^(b ^ ab ^ c ^ bc ^ abc ^ d ^ ad ^ abd ^ cd ^ bcd)
}

func s7(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abc, abd, acd, bcd := bc&a, bd&a, cd&a, cd&b
	x[0] = ^(ab ^ c ^ ad ^ bd ^ cd ^ acd ^ bcd)
	x[1] = b ^ ab ^ c ^ ac ^ bc ^ d ^ ad ^ abd ^ acd
	x[2] = a ^ b ^ c ^ abc ^ d ^ ad ^ bd ^ abd ^ bcd
	x[3] = a ^ b ^ c ^ ac ^ abc ^ ad
}

func i7(x *[4]uint32) {
	a, b, c, d := x[0], x[1], x[2], x[3]
	ab, ac, bc, ad, bd, cd := a&b, a&c, b&c, a&d, b&d, c&d
	abc, abd, acd, bcd := bc&a, bd&a, cd&a, cd&b
	x[0] = ^(a ^ b ^ bc ^ bd ^ abd ^ cd ^ bcd)
	x[1] = ^(a ^ c ^ bc ^ d ^ ad ^ bd ^ acd ^ bcd)
	x[2] = b ^ ac ^ d ^ abd ^ cd ^ acd
	x[3] = ab ^ c ^ abc ^ ad ^ bd ^ abd
}
