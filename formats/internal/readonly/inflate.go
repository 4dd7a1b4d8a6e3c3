package readonly

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/klauspost/compress/zlib"
)

// inflaters are decompressors at rest: they are large.
var inflaters sync.Pool // of io.ReadCloser, zlib.Resetter

// errLength is what is wrong with packed data that is longer than its block.
var errLength = errors.New("there is more data than the block has room for")

// Inflate unpacks a whole zlib stream, which must have len(out) bytes. Its checksum is
// verified. What follows it is ignored.
func Inflate(out, packed []byte) error {
	src := bytes.NewReader(packed)
	r, ok := inflaters.Get().(io.ReadCloser)
	var err error
	if ok {
		err = r.(zlib.Resetter).Reset(src, nil)
	} else {
		r, err = zlib.NewReader(src)
	}
	if err != nil {
		return err
	}
	defer inflaters.Put(r)
	return Fill(out, r)
}

// Fill reads out from r, which must end behind it.
func Fill(out []byte, r io.Reader) error {
	if _, err := io.ReadFull(r, out); err != nil {
		return err
	}
	var more [1]byte
	switch n, err := io.ReadFull(r, more[:]); {
	case n > 0:
		return errLength
	case err != io.EOF:
		return err
	}
	return nil
}
