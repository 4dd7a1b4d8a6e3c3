package readonly

import (
	"errors"
	"io"

	"github.com/qmon/qmon/formats/internal/inflate"
)

// errLength is what is wrong with packed data that is longer than its block.
var errLength = errors.New("there is more data than the block has room for")

// Inflate unpacks a whole zlib stream, which must have len(out) bytes. Its checksum is
// verified. What follows it is ignored.
func Inflate(out, packed []byte) error {
	n, err := inflate.Zlib(out, packed)
	switch {
	case errors.Is(err, inflate.ErrFull):
		return errLength
	case err == nil && n < len(out):
		return io.ErrUnexpectedEOF
	}
	return err
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
