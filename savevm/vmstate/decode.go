package vmstate

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
)

// Decoder reads a stream. After the first error every read gives zeroes; Err tells it.
type Decoder struct {
	r   *bufio.Reader
	off int64
	err error
}

func newDecoder(r io.Reader, size int) *Decoder { return &Decoder{r: bufio.NewReaderSize(r, size)} }

func newBytesDecoder(p []byte) *Decoder { return newDecoder(bytes.NewReader(p), minBuffer) }

// minBuffer holds a subsection's header, which is looked at before it is read.
const minBuffer = 1 + 1 + maxName + 4

// Err is the first error of any read.
func (d *Decoder) Err() error { return d.err }

// Offset is the number of bytes read so far.
func (d *Decoder) Offset() int64 { return d.off }

// Fill reads len(p) bytes into p.
func (d *Decoder) Fill(p []byte) {
	if d.err != nil {
		clear(p)
		return
	}
	n, err := io.ReadFull(d.r, p)
	d.off += int64(n)
	if err != nil {
		clear(p[n:])
		d.fail(err)
	}
}

// Skip reads n bytes and forgets them.
func (d *Decoder) Skip(n int64) {
	for n > 0 && d.err == nil {
		k, err := d.r.Discard(int(min(n, 1<<30)))
		d.off += int64(k)
		n -= int64(k)
		d.fail(err)
	}
}

func (d *Decoder) fail(err error) {
	if err == nil || d.err != nil {
		return
	}
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	d.err = err
}

// Uint8 reads a byte.
func (d *Decoder) Uint8() uint8 { return uint8(d.uint(1)) }

// Uint16 reads two bytes, big-endian.
func (d *Decoder) Uint16() uint16 { return uint16(d.uint(2)) }

// Uint32 reads four bytes, big-endian.
func (d *Decoder) Uint32() uint32 { return uint32(d.uint(4)) }

// Uint64 reads eight bytes, big-endian.
func (d *Decoder) Uint64() uint64 { return d.uint(8) }

func (d *Decoder) uint(size int) uint64 {
	if d.err != nil {
		return 0
	}
	p, err := d.r.Peek(size)
	if err != nil {
		d.fail(err)
		return 0
	}
	var b [8]byte
	copy(b[8-size:], p)
	d.Skip(int64(size))
	return binary.BigEndian.Uint64(b[:])
}

// Struct reads the fields and subsections of the struct that v points to.
func (d *Decoder) Struct(name string, version uint32, v any) error {
	s, err := target(v)
	if err != nil {
		return err
	}
	return structure{name, version}.decode(d, s)
}

// name reads a string with one byte of length in front.
func (d *Decoder) name() string {
	p := make([]byte, d.Uint8())
	d.Fill(p)
	if d.err != nil {
		return ""
	}
	return string(p)
}

// peekSubsection looks if a subsection of the structure called parent follows: the byte
// 5, a name, and the name begins with the parent's and a slash.
func (d *Decoder) peekSubsection(parent string) (string, bool) {
	if d.err != nil {
		return "", false
	}
	head, err := d.r.Peek(2)
	if err != nil || head[0] != kindSubsection || int(head[1]) <= len(parent) {
		return "", false
	}
	head, err = d.r.Peek(2 + int(head[1]))
	if err != nil {
		return "", false
	}
	name := string(head[2:])
	return name, strings.HasPrefix(name, parent+"/")
}
