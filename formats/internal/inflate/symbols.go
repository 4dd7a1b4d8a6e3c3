package inflate

import "encoding/binary"

const (
	maxMatch = 258
	// fastIn is how much input a turn of the fast loop may look at: two refills.
	fastIn = 16
	// fastOut is how much output a turn may touch: literals, and a match written eight
	// bytes at a time.
	fastOut = 8 + maxMatch + 8

	unknownSymbol = "unknown code of a literal or length"
	badDistance   = "impossible distance"
)

// fast goes through a block while there is room on both sides, so that nothing in the loop
// has to be asked for it. It tells if it reached the end of the block.
func (d *decoder) fast(t *tables) (done bool, err error) {
	src, dst := d.src, d.dst
	in, out, next, nbits := d.in, d.out, d.bits, d.nbits
	fault := ""
	for len(src)-in >= fastIn && len(dst)-out >= fastOut {
		next |= binary.LittleEndian.Uint64(src[in:]) << (nbits & 63)
		in += int((63 - nbits) / 8)
		nbits |= 56
		e := t.lit[next&(1<<litBits-1)]
		if e&literal != 0 {
			// Up to three times 11 bits, and then there are not enough left for a match.
			binary.LittleEndian.PutUint16(dst[out:], uint16(e>>valueShift))
			out += e.literals()
			next >>= e & 63
			nbits -= e.total()
			e = t.lit[next&(1<<litBits-1)]
			if e&literal != 0 {
				binary.LittleEndian.PutUint16(dst[out:], uint16(e>>valueShift))
				out += e.literals()
				next >>= e & 63
				nbits -= e.total()
				e = t.lit[next&(1<<litBits-1)]
				if e&literal != 0 {
					binary.LittleEndian.PutUint16(dst[out:], uint16(e>>valueShift))
					out += e.literals()
					next >>= e & 63
					nbits -= e.total()
					continue
				}
			}
			next |= binary.LittleEndian.Uint64(src[in:]) << (nbits & 63)
			in += int((63 - nbits) / 8)
			nbits |= 56
		}
		if e&exceptional != 0 {
			if e&subtable != 0 {
				e = t.lit[(uint64(e>>valueShift)+next>>litBits&(1<<(e&63)-1))&uint64(len(t.lit)-1)]
			}
			if e&literal != 0 {
				dst[out] = byte(e >> valueShift)
				out++
				next >>= e & 63
				nbits -= e.total()
				continue
			}
			if e&exceptional != 0 {
				next >>= e & 63
				nbits -= e.total()
				done = e&endOfBlock != 0
				if !done {
					fault = unknownSymbol
				}
				break
			}
		}
		length := e.value() + int(e.extra(next))
		next >>= e & 63
		nbits -= e.total()

		e = t.dist[next&(1<<distBits-1)]
		if e&subtable != 0 {
			e = t.dist[(uint64(e>>valueShift)+next>>distBits&(1<<(e&63)-1))&uint64(len(t.dist)-1)]
		}
		distance := e.value() + int(e.extra(next))
		next >>= e & 63
		nbits -= e.total()
		if e&exceptional != 0 || distance > out {
			fault = badDistance
			break
		}
		copyMatch(dst, out, distance, length)
		out += length
	}
	d.in, d.out, d.bits, d.nbits = in, out, next, nbits
	if fault != "" {
		return false, d.fault(fault)
	}
	return done, nil
}

// copyMatch writes length bytes at out, from distance bytes before it. It may write up to
// seven bytes more.
func copyMatch(dst []byte, out, distance, length int) {
	from, end := out-distance, out+length
	if distance == 1 {
		run := uint64(dst[from]) * 0x0101010101010101
		for ; out < end; out += 8 {
			binary.LittleEndian.PutUint64(dst[out:], run)
		}
		return
	}
	// Of eight bytes that begin closer than that to out, only the first ones are there yet.
	step := min(distance, 8)
	for out < end {
		binary.LittleEndian.PutUint64(dst[out:], binary.LittleEndian.Uint64(dst[from:]))
		out += step
		from += step
	}
}

// careful goes through a block to its end, where input or output are about to run out.
func (d *decoder) careful(t *tables) error {
	for {
		d.refill()
		e := t.lit[d.bits&(1<<litBits-1)]
		if e&subtable != 0 {
			e = t.lit[e.value()+int(d.bits>>litBits&(1<<(e&63)-1))]
		}
		if e&literal != 0 {
			// Of two literals only the first one: the second may not be there.
			if e.code() > d.nbits {
				return truncated(len(d.src))
			}
			if d.out == len(d.dst) {
				return ErrFull
			}
			d.dst[d.out] = byte(e >> valueShift)
			d.out++
			d.bits >>= e.code()
			d.nbits -= e.code()
			continue
		}
		if e.total() > d.nbits {
			return truncated(len(d.src))
		}
		if e&exceptional != 0 {
			if e&endOfBlock == 0 {
				return d.fault(unknownSymbol)
			}
			d.bits >>= e.total()
			d.nbits -= e.total()
			return nil
		}
		length := e.value() + int(e.extra(d.bits))
		d.bits >>= e.total()
		d.nbits -= e.total()
		if err := d.carefulMatch(t, length); err != nil {
			return err
		}
	}
}

// carefulMatch reads the distance of a match and copies as much of it as there is room for.
func (d *decoder) carefulMatch(t *tables, length int) error {
	d.refill()
	e := t.dist[d.bits&(1<<distBits-1)]
	if e&subtable != 0 {
		e = t.dist[e.value()+int(d.bits>>distBits&(1<<(e&63)-1))]
	}
	distance := e.value() + int(e.extra(d.bits))
	switch {
	case e.total() > d.nbits:
		return truncated(len(d.src))
	case e&exceptional != 0 || distance > d.out:
		return d.fault(badDistance)
	}
	d.bits >>= e.total()
	d.nbits -= e.total()
	full := length > len(d.dst)-d.out
	for range min(length, len(d.dst)-d.out) {
		d.dst[d.out] = d.dst[d.out-distance]
		d.out++
	}
	if full {
		return ErrFull
	}
	return nil
}
