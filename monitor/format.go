package monitor

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// format is what /fmt says: how many items, of which size, shown how.
type format struct {
	count  int
	letter byte // o, d, u, x, i (instructions) or c; 0 for the one used last
	size   int  // bytes per item: 1, 2, 4 or 8; 0 for the one used last
}

// maxCount is the largest number of items that a format can ask for; what it shows has
// to go through a terminal.
const maxCount = 1 << 24

// firstFormat is what a session starts with.
var firstFormat = format{letter: 'x', size: 4}

// format takes "/" with a count and letters, or nothing.
func (s *scanner) format() (any, error) {
	f := format{count: 1}
	if !strings.HasPrefix(s.rest, "/") {
		return f, nil
	}
	s.rest = s.rest[1:]
	if s.rest != "" && isDigit(s.rest[0]) {
		f.count = 0
		for s.rest != "" && isDigit(s.rest[0]) {
			f.count = min(f.count*10+int(s.rest[0]-'0'), maxCount)
			s.rest = s.rest[1:]
		}
	}
	for ; s.rest != "" && !isSpace(s.rest[0]); s.rest = s.rest[1:] {
		switch c := s.rest[0]; c {
		case 'o', 'd', 'u', 'x', 'i', 'c':
			f.letter = c
		case 'b':
			f.size = 1
		case 'h':
			f.size = 2
		case 'w':
			f.size = 4
		case 'g', 'L':
			f.size = 8
		default:
			return nil, badValue("invalid char in format: '" + s.rest[:1] + "'")
		}
	}
	return f, nil
}

// after fills what f leaves open from the format used last.
func (f format) after(last format) format {
	if f.letter == 0 {
		f.letter = last.letter
	}
	if f.size == 0 {
		f.size = last.size
	}
	return f
}

// number shows one value without padding, as print does: nought has no prefix.
func (f format) number(v int64) string {
	if v == 0 && f.letter != 'c' {
		return "0"
	}
	switch f.letter {
	case 'o':
		return fmt.Sprintf("%#o", uint64(v))
	case 'x':
		return fmt.Sprintf("%#x", uint64(v))
	case 'u':
		return fmt.Sprintf("%d", uint64(v))
	case 'c':
		return character(byte(v))
	}
	return fmt.Sprintf("%d", v)
}

// digits are the columns of the largest value of a size, by letter.
var digits = map[byte]map[int]int{
	'o': {1: 3, 2: 6, 4: 11, 8: 22},
	'd': {1: 3, 2: 5, 4: 10, 8: 20},
	'u': {1: 3, 2: 5, 4: 10, 8: 20},
}

// item shows one value of a memory dump, in a column of its own.
func (f format) item(v uint64) string {
	switch f.letter {
	case 'x':
		return fmt.Sprintf("0x%0*x", 2*f.size, v)
	case 'o':
		return fmt.Sprintf("%#*o", digits['o'][f.size], v)
	case 'u':
		return fmt.Sprintf("%*d", digits['u'][f.size], v)
	case 'c':
		return character(byte(v))
	}
	return fmt.Sprintf("%*d", digits['d'][f.size], int64(v))
}

// character shows a byte as C writes it.
func character(c byte) string {
	switch {
	case c == '\'', c == '\\':
		return `'\` + string(c) + `'`
	case c == '\n':
		return `'\n'`
	case c == '\r':
		return `'\r'`
	case c < ' ' || c > '~':
		return fmt.Sprintf(`'\x%02x'`, c)
	}
	return "'" + string(rune(c)) + "'"
}

// Bytes in a line of a memory dump.
const (
	lineOfBytes = 8
	lineOfWords = 16
)

// line shows the items in p.
func (f format) line(p []byte) string {
	size := f.size
	if f.letter == 'c' {
		size = 1
	}
	var b strings.Builder
	for ; len(p) >= size; p = p[size:] {
		var word [8]byte
		copy(word[:], p[:size])
		b.WriteString(" " + f.item(binary.LittleEndian.Uint64(word[:])))
	}
	return b.String()
}
