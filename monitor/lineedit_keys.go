package monitor

import "io"

// Keys as control characters.
const (
	keyHome      = 1
	keyBackward  = 2
	keyDelete    = 4
	keyEnd       = 5
	keyForward   = 6
	keyBackspace = 8
	keyTab       = 9
	keyLineFeed  = 10
	keyKill      = 11
	keyClear     = 12
	keyEnter     = 13
	keyTranspose = 20
	keyKillWord  = 23
	keyYank      = 25
	keyEscape    = 27
	keyRubout    = 127
)

const (
	// resetMark stands in a console's input where the line is to be forgotten, or, at a
	// terminal, where the device wants to know that all before it is done; a typed NUL
	// never gets there.
	resetMark = 0
	// keyMark is what the mark becomes: C-g does nothing in package readline, but its
	// listener hears of it.
	keyMark = 7
)

// keyAllowed are the control characters that mean something. QEMU's editor knows no C-p,
// C-n and C-u, and programs that drive it have been seen to send them for nothing.
var keyAllowed = [32]bool{
	keyHome: true, keyBackward: true, keyDelete: true, keyEnd: true, keyForward: true,
	keyBackspace: true, keyTab: true, keyLineFeed: true, keyKill: true, keyClear: true,
	keyEnter: true, keyTranspose: true, keyKillWord: true, keyYank: true,
}

// maxSequence bounds an escape sequence in bytes; no key sends a longer one.
const maxSequence = 16

// keyReader turns what terminals send into what package readline understands, and drops
// the rest.
type keyReader struct {
	src      io.Reader
	out      []byte // translated, not yet read
	sequence []byte // an escape sequence that is not complete
	cr       bool   // the last byte was a carriage return
}

// Read implements io.Reader.
func (r *keyReader) Read(p []byte) (int, error) {
	for len(r.out) == 0 {
		var in [256]byte
		n, err := r.src.Read(in[:])
		for _, b := range in[:n] {
			r.take(b)
		}
		if err != nil && len(r.out) == 0 {
			return 0, err
		}
	}
	n := copy(p, r.out)
	r.out = r.out[n:]
	return n, nil
}

// Close implements io.Closer.
func (r *keyReader) Close() error { return nil }

// take translates one byte.
func (r *keyReader) take(b byte) {
	cr := r.cr
	r.cr = b == keyEnter
	switch {
	case b == resetMark:
		r.sequence = nil
		r.out = append(r.out, keyMark)
	case len(r.sequence) > 0:
		r.sequence = append(r.sequence, b)
		r.endSequence(b)
	case b == keyEscape:
		r.sequence = append(r.sequence, b)
	case b == keyLineFeed && cr: // a line end of two bytes
	case b >= ' ' || keyAllowed[b]:
		r.out = append(r.out, b)
	}
}

// endSequence translates the escape sequence if b ends it.
func (r *keyReader) endSequence(b byte) {
	s := r.sequence
	switch {
	case len(s) == 2 && (b == '[' || b == 'O'):
		return
	case len(s) > maxSequence:
	case s[1] == '[' && (b < '@' || b > '~'):
		return
	case len(s) == 2: // with Meta
		if b == 'b' || b == 'f' || b == 'd' || b == keyRubout {
			r.out = append(r.out, s...)
		}
	case b >= 'A' && b <= 'D', b == 'H', b == 'F':
		r.out = append(r.out, keyEscape, '[', b)
	case b == '~':
		r.out = append(r.out, tildeKeys[string(s[2:len(s)-1])]...)
	}
	r.sequence = nil
}

// tildeKeys are the keys that send ESC [ number ~.
var tildeKeys = map[string]string{
	"1": "\x01", "7": "\x01", // Home
	"4": "\x05", "8": "\x05", // End
	"3": "\x1b[3~", // Delete
}
