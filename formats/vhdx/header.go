package vhdx

import (
	"encoding/binary"
	"hash/crc32"

	"github.com/qmon/qmon/blockdev"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	tib = 1 << 40

	// Section 2.2: where the header section has its parts.
	fileSignature  = "vhdxfile"
	identifierSize = 64 * kib
	header1Offset  = 64 * kib
	header2Offset  = 128 * kib
	headerSize     = 4 * kib
	headerSection  = mib // the first byte that regions may have
)

// Section 2.2.2: fields of a header.
const (
	headerSignature = "head"
	offChecksum     = 4 // also in region tables and log entries
	offSequence     = 8
	offFileWrite    = 16
	offDataWrite    = 32
	offLogGUID      = 48
	offLogVersion   = 64
	offVersion      = 66
	offLogLength    = 68
	offLogOffset    = 72
	headerVersion   = 1
)

// maxLogLength is how long a log may be: of ours at most this much is read at a time, and
// Hyper-V makes logs of 1 MiB.
const maxLogLength = 256 * mib

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is that of b with the checksum field taken as zero.
func checksum(b []byte) uint32 {
	sum := crc32.Update(0, castagnoli, b[:offChecksum])
	sum = crc32.Update(sum, castagnoli, make([]byte, 4))
	return crc32.Update(sum, castagnoli, b[offChecksum+4:])
}

// seal stores the checksum of b in it.
func seal(b []byte) { binary.LittleEndian.PutUint32(b[offChecksum:], checksum(b)) }

// sealed tells if b has its signature and the right checksum.
func sealed(b []byte, signature string) bool {
	return string(b[:4]) == signature && binary.LittleEndian.Uint32(b[offChecksum:]) == checksum(b)
}

// header is the part of an image that names the log, section 2.2.2.
type header struct {
	sequence   uint64
	fileWrite  guid
	dataWrite  guid
	log        guid // zero if the log is empty
	logVersion uint16
	version    uint16
	logLength  int64
	logOffset  int64
}

func (h *header) encode() []byte {
	b := make([]byte, headerSize)
	copy(b, headerSignature)
	le := binary.LittleEndian
	le.PutUint64(b[offSequence:], h.sequence)
	copy(b[offFileWrite:], h.fileWrite[:])
	copy(b[offDataWrite:], h.dataWrite[:])
	copy(b[offLogGUID:], h.log[:])
	le.PutUint16(b[offLogVersion:], h.logVersion)
	le.PutUint16(b[offVersion:], h.version)
	le.PutUint32(b[offLogLength:], uint32(h.logLength))
	le.PutUint64(b[offLogOffset:], uint64(h.logOffset))
	seal(b)
	return b
}

// decodeHeader reads a header, nil if b is none.
func decodeHeader(b []byte) *header {
	if !sealed(b, headerSignature) {
		return nil
	}
	le := binary.LittleEndian
	return &header{
		sequence:   le.Uint64(b[offSequence:]),
		fileWrite:  guid(b[offFileWrite:]),
		dataWrite:  guid(b[offDataWrite:]),
		log:        guid(b[offLogGUID:]),
		logVersion: le.Uint16(b[offLogVersion:]),
		version:    le.Uint16(b[offVersion:]),
		logLength:  int64(le.Uint32(b[offLogLength:])),
		logOffset:  int64(le.Uint64(b[offLogOffset:])),
	}
}

// headers are both headers of a file and which of them counts.
type headers struct {
	current *header
	second  bool // the current one is at header2Offset
}

// readHeaders checks the identifier and finds the current header.
func readHeaders(file blockdev.Node, name string) (*headers, error) {
	head := make([]byte, len(fileSignature))
	if file.Size() < header2Offset+headerSize {
		return nil, blockdev.Errorf(blockdev.ErrFormat, "open", name, "Image is not in vhdx format")
	}
	if _, err := file.ReadAt(head, 0); err != nil {
		return nil, err
	}
	if string(head) != fileSignature {
		return nil, blockdev.Errorf(blockdev.ErrFormat, "open", name, "Image is not in vhdx format")
	}
	var found [2]*header
	for i, off := range []int64{header1Offset, header2Offset} {
		b := make([]byte, headerSize)
		if _, err := file.ReadAt(b, off); err != nil {
			return nil, err
		}
		found[i] = decodeHeader(b)
	}
	h := &headers{current: found[0]}
	if found[0] == nil || found[1] != nil && found[1].sequence > found[0].sequence {
		h.current, h.second = found[1], true
	}
	if h.current == nil {
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "No valid VHDX header found")
	}
	return h, h.current.validate(name)
}

func (h *header) validate(name string) error {
	switch {
	case h.version != headerVersion:
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", name, "Unsupported VHDX version %d", h.version)
	case h.logVersion != 0:
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", name, "Unsupported VHDX log version %d", h.logVersion)
	case h.logOffset < headerSection || h.logOffset%mib != 0 || h.logOffset > maxFileSize:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VHDX log offset %#x is invalid", uint64(h.logOffset))
	case h.logLength < mib || h.logLength%mib != 0:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VHDX log length %d is invalid", h.logLength)
	}
	return nil
}

// update writes a changed header over the one that is not current, and makes it current,
// section 2.2.2.1. A crash leaves either.
func (h *headers) update(file blockdev.Node, change func(*header)) error {
	next := *h.current
	change(&next)
	next.sequence++
	off := int64(header2Offset)
	if h.second {
		off = header1Offset
	}
	if _, err := file.WriteAt(next.encode(), off); err != nil {
		return err
	}
	if err := file.Flush(); err != nil {
		return err
	}
	h.current, h.second = &next, !h.second
	return nil
}
