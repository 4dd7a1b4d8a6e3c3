// Package lzfse unpacks LZFSE, a kind of compression of Apple's: Lempel-Ziv with finite state
// entropy coding. There is no specification; the layout is that of Apple's reference
// implementation (github.com/lzfse/lzfse). Data is cut into blocks, each with a magic number and
// the size it unpacks to:
//
//	bvx-  bytes as they are
//	bvxn  LZVN, see lzvn.go
//	bvx2  entropy-coded: literals, and then triples of lengths and a distance
//	bvx$  the end
//
// (bvx1, with tables that are not packed, is written by no program.)
package lzfse

import (
	"encoding/binary"
	"errors"
	"math"
)

const (
	codedHeader = 32 // of a bvx2 block, without its tables
	lzvnHeader  = 12
	maxLiterals = 40000 // of a bvx2 block
	maxMatches  = 10000
)

var errInvalid = errors.New("invalid LZFSE data")

// Unpack fills out from the blocks of packed, which must have exactly that many bytes.
func Unpack(out, packed []byte) error {
	w := window{out: out}
	for len(packed) >= 4 {
		magic := string(packed[:4])
		if magic == "bvx$" {
			break
		}
		if len(packed) < lzvnHeader {
			return errInvalid
		}
		raw, used, ok := sizeAt(packed, 4), 0, false
		end := w.at + raw
		switch magic {
		case "bvx-":
			used = 8 + min(raw, len(packed)-8)
			ok = w.literals(packed[8:used])
		case "bvxn":
			used = lzvnHeader + min(sizeAt(packed, 8), len(packed)-lzvnHeader)
			ok = w.lzvn(packed[lzvnHeader:used])
		case "bvx2":
			used, ok = w.coded(packed)
		}
		if !ok || w.at != end {
			return errInvalid
		}
		packed = packed[used:]
	}
	if w.at != len(out) {
		return errInvalid
	}
	return nil
}

// sizeAt reads a size. More than half of what 32 bits hold is as wrong as that half.
func sizeAt(b []byte, off int) int {
	return int(min(binary.LittleEndian.Uint32(b[off:]), math.MaxInt32/2))
}

// window is what was unpacked so far, and the room for the rest.
type window struct {
	out []byte
	at  int
}

// literals appends p, if there is room.
func (w *window) literals(p []byte) bool {
	if len(p) > len(w.out)-w.at {
		return false
	}
	w.at += copy(w.out[w.at:], p)
	return true
}

// match appends n bytes from d bytes back, which may overlap with what they become.
func (w *window) match(n, d int) bool {
	if n > len(w.out)-w.at || n > 0 && (d <= 0 || d > w.at) {
		return false
	}
	for n > 0 {
		k := copy(w.out[w.at:w.at+n], w.out[w.at-d:w.at])
		w.at, n = w.at+k, n-k
	}
	return true
}

// coded unpacks a bvx2 block and tells how long it is.
func (w *window) coded(b []byte) (used int, ok bool) {
	if len(b) < codedHeader {
		return 0, false
	}
	field := func(word, at, n int) int {
		return int(binary.LittleEndian.Uint64(b[8+8*word:]) >> at & (1<<n - 1))
	}
	header := field(2, 0, 32)
	literals, matches := field(0, 0, 20), field(0, 40, 20)
	middle := header + field(0, 20, 20)
	end := middle + field(1, 40, 20)
	if header < codedHeader || end > len(b) || literals > maxLiterals || matches > maxMatches {
		return 0, false
	}
	// Literals are filled up to a multiple of four, and no triple stands for nothing: a few
	// bytes must not ask for work without end.
	if raw := sizeAt(b, 4); literals > raw+3 || matches > raw {
		return 0, false
	}
	tables, ok := readTables(b[codedHeader:header])
	if !ok {
		return 0, false
	}
	text := make([]byte, literals)
	s := stream{b: b[header:middle], left: 8*(middle-header) + field(0, 60, 3) - 7}
	var four [4]decoder
	for i := range four {
		four[i] = decoder{tables[3], field(1, 10*i, 10)}
	}
	for i := range text {
		text[i] = byte(four[i%4].next(&s))
	}
	m := stream{b: b[middle:end], left: 8*(end-middle) + field(1, 60, 3) - 7}
	three := [3]decoder{}
	for i := range three {
		three[i] = decoder{tables[i], field(2, 32+10*i, 10)}
	}
	return end, !s.bad && w.triples(&m, three, text, matches)
}

// triples does what each of them says: so many literals, and a match. A distance of 0 is
// the one before.
func (w *window) triples(s *stream, d [3]decoder, text []byte, n int) bool {
	distance := 0
	for range n {
		literals, length := d[0].next(s), d[1].next(s)
		if v := d[2].next(s); v != 0 {
			distance = v
		}
		if s.bad || literals > len(text) || !w.literals(text[:literals]) || !w.match(length, distance) {
			return false
		}
		text = text[literals:]
	}
	return true
}
