package luks2

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/sectors"
)

// The binary header, section 2.1. Numbers are big-endian.
const (
	magicFirst   = "LUKS\xba\xbe"
	magicSecond  = "SKUL\xba\xbe"
	offVersion   = 6
	offSize      = 8
	offSequence  = 16
	offHash      = 72
	offUUID      = 168
	offPlace     = 256
	offChecksum  = 448
	hashBytes    = 32
	uuidBytes    = 40
	checksumSize = 64
	binaryBytes  = 4096
	version2     = 2
)

// A copy of the header with its JSON is as long as a power of two between these, bytes.
const (
	minCopy = 16 << 10
	maxCopy = 4 << 20
)

// maxText is how long the JSON may be, bytes, however large its area: volumes have some
// thousands, and a reader needs a multiple of it.
const maxText = 256 << 10

// Header is what a volume says of itself, checked.
type Header struct {
	UUID     string
	Segment  Segment
	slots    []slot // in the order to try them
	digest   digest
	copySize int64
}

// Found tells if there is a header of version 2, of which the first copy may be damaged.
func Found(r io.ReaderAt, size int64) bool {
	head := make([]byte, offVersion+2)
	for at := int64(0); at <= maxCopy && at <= size-binaryBytes; at = max(minCopy, 2*at) {
		if _, err := r.ReadAt(head, at); err != nil {
			return false
		}
		if isCopy(head, at) {
			return true
		}
	}
	return false
}

func isCopy(head []byte, at int64) bool {
	magic := magicFirst
	if at > 0 {
		magic = magicSecond
	}
	return string(head[:offVersion]) == magic && binary.BigEndian.Uint16(head[offVersion:]) == version2
}

// Read reads the header of a volume of size bytes. Errors name the file. A detached header
// lies apart from the disk.
func Read(r io.ReaderAt, size int64, name string, detached bool) (*Header, error) {
	c, err := newestCopy(r, size)
	if err != nil {
		return nil, inFile(err, name)
	}
	h, err := parse(c, size, detached)
	return h, inFile(err, name)
}

// copyOf is one of the two copies.
type copyOf struct {
	sequence uint64
	uuid     string
	size     int64
	text     []byte
}

// newestCopy reads the first copy, and the second one, which lies behind it. Where the first
// one cannot tell how long it is, the second is looked for at every place where it can be.
func newestCopy(r io.ReaderAt, size int64) (*copyOf, error) {
	first, err := readCopy(r, size, 0)
	if err == nil {
		second, err := readCopy(r, size, first.size)
		if err == nil && second.sequence > first.sequence {
			return second, nil
		}
		return first, nil
	}
	for at := int64(minCopy); at <= maxCopy; at *= 2 {
		if c, err := readCopy(r, size, at); err == nil {
			return c, nil
		}
	}
	return nil, err
}

func corrupt(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrCorrupt, "open", "", format, args...)
}

func unsupported(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrNotSupported, "open", "", format, args...)
}

func tooMuch(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrLimit, "open", "", format, args...)
}

// readCopy reads the copy at a place, and compares its checksum.
func readCopy(r io.ReaderAt, size, at int64) (*copyOf, error) {
	if at > size-binaryBytes {
		return nil, corrupt("LUKS2 header at offset %d is not in the file", at)
	}
	b := make([]byte, binaryBytes)
	if _, err := r.ReadAt(b, at); err != nil {
		return nil, err
	}
	if !isCopy(b, at) {
		return nil, corrupt("No LUKS2 header at offset %d", at)
	}
	be := binary.BigEndian
	n, place := be.Uint64(b[offSize:]), be.Uint64(b[offPlace:])
	switch {
	case n < minCopy || n > maxCopy || n&(n-1) != 0:
		return nil, corrupt("LUKS2 header at offset %d claims %d bytes", at, n)
	case place != uint64(at) || at > 0 && uint64(at) != n:
		return nil, corrupt("LUKS2 header at offset %d is for offset %d", at, place)
	case int64(n) > size-at:
		return nil, corrupt("LUKS2 header at offset %d of %d bytes is not in the file", at, n)
	}
	area := make([]byte, int64(n)-binaryBytes)
	if _, err := r.ReadAt(area, at+binaryBytes); err != nil {
		return nil, err
	}
	if err := compareChecksum(b, area, at); err != nil {
		return nil, err
	}
	text, _, _ := bytes.Cut(area, []byte{0})
	return &copyOf{sequence: be.Uint64(b[offSequence:]), uuid: cString(b[offUUID:], uuidBytes), size: int64(n), text: text}, nil
}

// compareChecksum: it is that of the whole copy with zeroes in its own place.
func compareChecksum(b, area []byte, at int64) error {
	name := cString(b[offHash:], hashBytes)
	newHash, ok := sectors.Hashes[name]
	if !ok {
		return unsupported("Hash algorithm '%s' not supported", name)
	}
	want := bytes.Clone(b[offChecksum : offChecksum+checksumSize])
	clear(b[offChecksum : offChecksum+checksumSize])
	sum := newHash()
	_, _ = sum.Write(b) // a hash takes everything
	_, _ = sum.Write(area)
	if !bytes.Equal(sum.Sum(nil), want[:sum.Size()]) {
		return corrupt("Checksum of the LUKS2 header at offset %d is wrong", at)
	}
	return nil
}

func cString(b []byte, n int) string {
	s, _, _ := strings.Cut(string(b[:n]), "\x00")
	return s
}

// inFile names the file in an error.
func inFile(err error, name string) error {
	var e *blockdev.Error
	if errors.As(err, &e) {
		e.File = name
	}
	return err
}
