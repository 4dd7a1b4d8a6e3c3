// Package inflate decompresses DEFLATE data (RFC 1951), bare or in a zlib stream (RFC 1950),
// that lies in memory as a whole and has a place to go to whose size is known, as the
// compressed clusters of image files have. Knowing both slices is what makes it faster than a
// streaming decoder: there is no window to keep and no state to resume, and most of the time
// nothing has to be asked before eight bytes are read or written.
//
// Data is a row of blocks. A block is stored, or made of literals and matches ("copy length
// bytes from distance bytes back") in two Huffman codes: one of literals and lengths, one of
// distances. Each code is turned into a table (table.go) that is indexed with the next bits of
// the input; symbols.go goes through a block with them.
//
//	input   [ ... in -> |..................]     bits: the next nbits of it, lowest first
//	output  [ written ... out -> |.........]     a match copies from behind out
package inflate

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrFull says that the output is full and that the stream has more for it.
var ErrFull = errors.New("deflate: there is more data than room for it")

// Error is what is wrong with a stream.
type Error struct {
	Offset int    // bytes into the input, about
	Text   string // what is wrong
	Err    error  // io.ErrUnexpectedEOF where the input ends too early, or nil
}

func (e *Error) Error() string { return fmt.Sprintf("deflate: %s at byte %d", e.Text, e.Offset) }

func (e *Error) Unwrap() error { return e.Err }

// Section 3.2.3 and 3.2.7.
const (
	blockStored  = 0
	blockFixed   = 1
	blockDynamic = 2

	maxLitSymbols  = 286
	maxDistSymbols = 30
	numPreSymbols  = 19
)

// preOrder is the order in which the lengths of the code length code are stored.
var preOrder = [numPreSymbols]uint8{16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15}

// decoder is the state of one decompression.
type decoder struct {
	src, dst []byte
	in, out  int    // bytes taken and written
	bits     uint64 // what was taken and not used; the bits above nbits are what follows, or 0
	nbits    uint

	dynamic tables
	pre     [1 << preBits]entry
	lens    [maxLitSymbols + maxDistSymbols]uint8
}

var decoders = sync.Pool{New: func() any { return new(decoder) }}

// fixed are the tables of section 3.2.6.
var fixed = sync.OnceValue(func() *tables {
	var lens [288]uint8
	for i := range lens {
		switch {
		case i < 144:
			lens[i] = 8
		case i < 256:
			lens[i] = 9
		case i < 280:
			lens[i] = 7
		default:
			lens[i] = 8
		}
	}
	t := new(tables)
	build(t.lit[:], litBits, lens[:], numLiterals, lengthSymbols[:])
	pairLiterals(&t.lit)
	clear(lens[:])
	for i := range 32 {
		lens[i] = 5
	}
	build(t.dist[:], distBits, lens[:32], 0, distSymbols[:])
	return t
})

// Raw decompresses src into dst until the stream ends, and returns how many bytes it wrote
// and how many of src it used. What follows the stream is not looked at. When the
// stream does not end where dst does it returns [ErrFull]: dst is filled then. All other errors
// are of type *[Error]; what is before the fault was written, and n says how much. Bytes of dst
// behind n may have changed.
func Raw(dst, src []byte) (n, used int, err error) {
	d := decoders.Get().(*decoder)
	d.src, d.dst = src, dst
	d.in, d.out, d.bits, d.nbits = 0, 0, 0, 0
	for last := false; err == nil && !last; {
		last, err = d.block()
	}
	n, used = d.out, d.in-int(d.nbits/8)
	d.src, d.dst = nil, nil
	decoders.Put(d)
	return n, used, err
}

// block decompresses one block and tells if it is the last one.
func (d *decoder) block() (last bool, err error) {
	head, err := d.take(3)
	if err != nil {
		return false, err
	}
	t := &d.dynamic
	switch head >> 1 {
	case blockStored:
		return head&1 != 0, d.stored()
	case blockFixed:
		t = fixed()
	case blockDynamic:
		err = d.readCodes()
	default:
		err = d.fault("unknown type of block")
	}
	if err != nil {
		return false, err
	}
	done, err := d.fast(t)
	if err == nil && !done {
		err = d.careful(t)
	}
	return head&1 != 0, err
}

// fault is an error about where the decoder is.
func (d *decoder) fault(text string) error {
	return &Error{Offset: d.in - int(d.nbits/8), Text: text}
}

// truncated is the error that a stream goes on behind its size bytes.
func truncated(size int) error {
	return &Error{Offset: size, Text: "the data ends", Err: io.ErrUnexpectedEOF}
}

// refill has at least 56 bits ready, or all that are left.
func (d *decoder) refill() {
	if len(d.src)-d.in >= 8 {
		d.bits |= binary.LittleEndian.Uint64(d.src[d.in:]) << (d.nbits & 63)
		d.in += int((63 - d.nbits) / 8)
		d.nbits |= 56
		return
	}
	for d.nbits < 56 && d.in < len(d.src) {
		d.bits |= uint64(d.src[d.in]) << (d.nbits & 63)
		d.in++
		d.nbits += 8
	}
}

// take uses the next n bits, 16 at most.
func (d *decoder) take(n uint) (uint, error) {
	if d.nbits < n {
		if d.refill(); d.nbits < n {
			return 0, truncated(len(d.src))
		}
	}
	v := uint(d.bits) & (1<<n - 1)
	d.bits >>= n
	d.nbits -= n
	return v, nil
}

// stored copies a stored block, section 3.2.4.
func (d *decoder) stored() error {
	d.in -= int(d.nbits / 8)
	d.bits, d.nbits = 0, 0
	if len(d.src)-d.in < 4 {
		return truncated(len(d.src))
	}
	n := int(binary.LittleEndian.Uint16(d.src[d.in:]))
	if n^0xffff != int(binary.LittleEndian.Uint16(d.src[d.in+2:])) {
		return d.fault("the length of a stored block does not match its complement")
	}
	d.in += 4
	copied := copy(d.dst[d.out:], d.src[d.in:min(d.in+n, len(d.src))])
	d.in += copied
	d.out += copied
	switch {
	case copied == n:
		return nil
	case d.in == len(d.src):
		return truncated(len(d.src))
	}
	return ErrFull
}

// readCodes makes the tables of a block with codes of its own, section 3.2.7.
func (d *decoder) readCodes() error {
	head, err := d.take(14)
	if err != nil {
		return err
	}
	numLit, numDist, numPre := int(head&31)+257, int(head>>5&31)+1, int(head>>10)+4
	if numLit > maxLitSymbols || numDist > maxDistSymbols {
		return d.fault("too many symbols in a code")
	}
	var pre [numPreSymbols]uint8
	for _, symbol := range preOrder[:numPre] {
		n, err := d.take(3)
		if err != nil {
			return err
		}
		pre[symbol] = uint8(n)
	}
	if !build(d.pre[:], preBits, pre[:], 0, preSymbols[:]) {
		return d.fault("impossible code of code lengths")
	}
	lens := d.lens[:numLit+numDist]
	if err := d.readLengths(lens); err != nil {
		return err
	}
	if !build(d.dynamic.lit[:], litBits, lens[:numLit], numLiterals, lengthSymbols[:]) {
		return d.fault("impossible code of literals")
	}
	if !build(d.dynamic.dist[:], distBits, lens[numLit:], 0, distSymbols[:]) {
		return d.fault("impossible code of distances")
	}
	pairLiterals(&d.dynamic.lit)
	return nil
}

// readLengths reads the lengths of both codes: one sequence, in which repeats may cross from
// one code into the other.
func (d *decoder) readLengths(lens []uint8) error {
	for i := 0; i < len(lens); {
		if d.nbits < preBits+7 {
			d.refill()
		}
		e := d.pre[d.bits&(1<<preBits-1)]
		if e&exceptional != 0 {
			return d.fault("unknown code of a code length")
		}
		if e.total() > d.nbits {
			return truncated(len(d.src))
		}
		symbol, repeat := e.value(), int(e.extra(d.bits))
		d.bits >>= e.total()
		d.nbits -= e.total()
		if symbol < 16 {
			lens[i] = uint8(symbol)
			i++
			continue
		}
		length := uint8(0)
		switch symbol {
		case 16:
			if i == 0 {
				return d.fault("a code length repeats none")
			}
			length = lens[i-1]
			repeat += 3
		case 17:
			repeat += 3
		default:
			repeat += 11
		}
		if repeat > len(lens)-i {
			return d.fault("too many code lengths")
		}
		for range repeat {
			lens[i] = length
			i++
		}
	}
	return nil
}
