package lzfse

import (
	"encoding/binary"
	"math/bits"
)

// code is how one of the four kinds of numbers is coded: the number of states, and for each
// symbol a base and how many bits are added to it.
type code struct {
	states int
	base   []int
	extra  []int
}

// codes are those of literal lengths, match lengths, distances and literals.
var codes = [4]code{
	newCode(64, []int{16, 2, 3, 5, 8}, 1),
	newCode(64, []int{16, 3, 5, 8, 11}, 1),
	newCode(256, []int{4, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, 4),
	newCode(1024, []int{256}, 1),
}

// newCode has widths[0] symbols without further bits, and then some of each width.
func newCode(states int, widths []int, some int) code {
	c := code{states: states, extra: make([]int, widths[0])}
	for _, n := range widths[1:] {
		for range some {
			c.extra = append(c.extra, n)
		}
	}
	base := 0
	for _, n := range c.extra {
		c.base = append(c.base, base)
		base += 1 << n
	}
	return c
}

// entry is what a state of a decoder does: it takes bits, of which the low ones are added to
// base for the number, and the others to next for the state that follows.
type entry struct{ bits, low, base, next int }

// table makes the entries of a code whose symbols have these frequencies.
func (c *code) table(frequencies []int) ([]entry, bool) {
	t := make([]entry, 0, c.states)
	for symbol, f := range frequencies {
		if f > c.states-len(t) {
			return nil, false
		}
		k := bits.LeadingZeros(uint(f)) - bits.LeadingZeros(uint(c.states))
		first := 2*c.states>>k - f // from here on a bit less is enough
		for i := range f {
			e := entry{bits: k, low: c.extra[symbol], base: c.base[symbol], next: (f+i)<<k - c.states}
			if i >= first {
				e.bits, e.next = k-1, (i-first)<<(k-1)
			}
			e.bits += e.low
			t = append(t, e)
		}
	}
	return t, true
}

// stream is read from its end to its beginning, the high bits first.
type stream struct {
	b    []byte
	left int // bits that were not read
	bad  bool
}

func (s *stream) pull(n int) int {
	if s.left -= n; s.left < 0 {
		s.left, s.bad = 0, true
		return 0
	}
	var word [8]byte
	copy(word[:], s.b[s.left/8:])
	return int(binary.LittleEndian.Uint64(word[:]) >> (s.left % 8) & (1<<n - 1))
}

// decoder is a table and the state it is in.
type decoder struct {
	table []entry
	state int
}

func (d *decoder) next(s *stream) int {
	if d.state >= len(d.table) {
		s.bad = true
		return 0
	}
	e := d.table[d.state]
	v := s.pull(e.bits)
	d.state = e.next + v>>e.low
	return e.base + v&(1<<e.low-1)
}

// shortFrequency has for the low 5 bits of a packed frequency how many bits it has, and what
// it is if it is not longer than that.
var shortFrequency = func() (t [32]struct{ bits, value int }) {
	for i := range t {
		switch {
		case i&1 == 0: // x0: 0 or 1
			t[i].bits, t[i].value = 2, i>>1&1
		case i&3 == 1: // x01: 2 or 3
			t[i].bits, t[i].value = 3, 2+i>>2&1
		case i&7 == 3: // xx011: 4 to 7
			t[i].bits, t[i].value = 5, 4+i>>3
		}
	}
	return t
}()

// readTables reads the frequencies of all symbols and makes the decoders' tables. Numbers of
// 2 to 14 bits follow each other from the lowest bit on.
func readTables(b []byte) (tables [4][]entry, ok bool) {
	at := 0
	for i := range codes {
		f := make([]int, len(codes[i].base))
		for k := range f {
			if at > 8*len(b) {
				return tables, false
			}
			var word [4]byte
			copy(word[:], b[min(at/8, len(b)):])
			v := int(binary.LittleEndian.Uint32(word[:]) >> (at % 8))
			switch e := shortFrequency[v&31]; {
			case e.bits != 0:
				f[k], at = e.value, at+e.bits
			case v&15 == 7:
				f[k], at = 8+v>>4&15, at+8
			default:
				f[k], at = 24+v>>4&1023, at+14
			}
		}
		if tables[i], ok = codes[i].table(f); !ok {
			return tables, false
		}
	}
	return tables, at <= 8*len(b)
}
