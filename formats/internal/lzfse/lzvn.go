package lzfse

// lzvn unpacks an LZVN block. The first byte of an instruction tells of what it consists:
// L literals, which follow the instruction, and then M bytes from D bytes back. In the other
// bytes of an instruction, dots are bits of D:
//
//	00000110                    the end; 7 more bytes follow
//	0000x110                    nothing, also 00010110
//	LLMMM... ........           M+3
//	LLMMM110                    M+3, D as before
//	LLMMM111 ........ ........  M+3, D in little-endian order
//	101LLMMM ......MM ........  M+3, D likewise
//	11100000 LLLLLLLL           L+16
//	1110LLLL
//	11110000 MMMMMMMM           M+16, D as before
//	1111MMMM                    D as before
func (w *window) lzvn(b []byte) bool {
	distance := 0
	for len(b) > 0 {
		op := int(b[0])
		if op == 0x06 {
			return true
		}
		size, literals, length := lzvnSize(op), op>>6, op>>3&7+3
		if size == 0 || size > len(b) {
			return false
		}
		switch {
		case op == 0x0e || op == 0x16:
			literals, length = 0, 0
		case op>>4 == 0xe:
			literals, length = op&15, 0
			if size == 2 {
				literals = int(b[1]) + 16
			}
		case op>>4 == 0xf:
			literals, length = 0, op&15
			if size == 2 {
				length = int(b[1]) + 16
			}
		case op>>5 == 5:
			literals, length = op>>3&3, (op&7<<2|int(b[1])&3)+3
			distance = int(b[2])<<6 | int(b[1])>>2
		case size == 2:
			distance = op&7<<8 | int(b[1])
		case size == 3:
			distance = int(b[2])<<8 | int(b[1])
		}
		b = b[size:]
		if literals > len(b) || !w.literals(b[:literals]) || !w.match(length, distance) {
			return false
		}
		b = b[literals:]
	}
	return false // without an end
}

// lzvnSize is how many bytes an instruction has, 0 for one that is none.
func lzvnSize(op int) int {
	switch {
	case op == 0xe0 || op == 0xf0:
		return 2
	case op >= 0xe0 || op == 0x0e || op == 0x16:
		return 1
	case op>>5 == 5:
		return 3
	case op>>4 == 0x7 || op>>4 == 0xd || op < 0x40 && op&7 == 6:
		return 0
	case op&7 == 6:
		return 1
	case op&7 == 7:
		return 3
	}
	return 2
}
