package qcow

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

// Offsets of the header's fields.
const (
	offVersion       = 4
	offBackingOffset = 8
	offBackingSize   = 16
	offSize          = 24
	offClusterBits   = 32
	offL2Bits        = 33
	offCryptMethod   = 36
	offL1            = 40
	headerBytes      = 48
	entryBytes       = 8
	sectorSize       = 512
	magic            = "QFI\xfb"
	version1         = 1
)

// Limits of the format, which are QEMU's.
const (
	minClusterBits = 9
	maxClusterBits = 16
	minL2Bits      = minClusterBits - 3
	maxL2Bits      = maxClusterBits - 3
	maxL1Bytes     = 1<<31 - 1
	maxBackingName = 1023
)

// header is what it says, checked.
type header struct {
	clusterBits uint
	l2Bits      uint
	size        int64
	crypt       uint32
	l1          int64
	backing     string
}

func (h *header) clusterSize() int64 { return 1 << h.clusterBits }

// l1Entries is how many the disk needs.
func (h *header) l1Entries() int64 {
	shift := h.clusterBits + h.l2Bits
	return (h.size + 1<<shift - 1) >> shift
}

// dataStart is the end of the L1 table, before which nothing else may be.
func (h *header) dataStart() int64 { return h.l1 + h.l1Entries()*entryBytes }

func readHeader(file blockdev.Node, name string) (*header, error) {
	refuse := func(kind error, format string, args ...any) (*header, error) {
		return nil, blockdev.Errorf(kind, "open", name, format, args...)
	}
	b := make([]byte, headerBytes)
	if file.Size() < headerBytes {
		return refuse(blockdev.ErrFormat, "Image not in qcow format")
	}
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	h := &header{clusterBits: uint(b[offClusterBits]), l2Bits: uint(b[offL2Bits]), crypt: be.Uint32(b[offCryptMethod:])}
	version, size, l1 := be.Uint32(b[offVersion:]), be.Uint64(b[offSize:]), be.Uint64(b[offL1:])
	switch {
	case string(b[:len(magic)]) != magic:
		return refuse(blockdev.ErrFormat, "Image not in qcow format")
	case version != version1:
		hint := ""
		if version == 2 || version == 3 {
			hint = "\nTry the 'qcow2' driver instead."
		}
		return refuse(blockdev.ErrNotSupported, "qcow (v1) does not support qcow version %d%s", version, hint)
	case size <= 1:
		return refuse(blockdev.ErrCorrupt, "Image size is too small (must be at least 2 bytes)")
	case h.clusterBits < minClusterBits || h.clusterBits > maxClusterBits:
		return refuse(blockdev.ErrCorrupt, "Cluster size must be between 512 and 64k")
	case h.l2Bits < minL2Bits || h.l2Bits > maxL2Bits:
		return refuse(blockdev.ErrCorrupt, "L2 table size must be between 512 and 64k")
	case h.crypt > cryptAES:
		return refuse(blockdev.ErrNotSupported, "invalid encryption method in qcow header")
	case size>>(h.clusterBits+h.l2Bits) >= maxL1Bytes/entryBytes || size > blockdev.MaxSize:
		return refuse(blockdev.ErrLimit, "Image too large")
	}
	h.size = int64(size) / sectorSize * sectorSize
	h.l1 = int64(l1)
	if l1 > uint64(file.Size()) || h.l1 < headerBytes || h.dataStart() > file.Size() {
		return refuse(blockdev.ErrCorrupt, "the L1 table of %d entries, at offset 0x%x, is not in the file", h.l1Entries(), l1)
	}
	return h, h.readBacking(file, b, name)
}

func (h *header) readBacking(file blockdev.Node, b []byte, name string) error {
	off, n := binary.BigEndian.Uint64(b[offBackingOffset:]), binary.BigEndian.Uint32(b[offBackingSize:])
	switch {
	case off == 0:
		return nil
	case n > maxBackingName:
		return blockdev.Errorf(blockdev.ErrLimit, "open", name, "Backing file name too long")
	case off > uint64(file.Size()) || int64(off)+int64(n) > file.Size():
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "the backing file's name, at offset 0x%x, is not in the file", off)
	}
	text := make([]byte, n)
	_, err := file.ReadAt(text, int64(off))
	h.backing = string(text)
	return err
}

// encode makes the header of a new image, with the backing file's name behind it.
func (h *header) encode() []byte {
	b := make([]byte, headerBytes)
	be := binary.BigEndian
	copy(b, magic)
	be.PutUint32(b[offVersion:], version1)
	be.PutUint32(b[offCryptMethod:], h.crypt)
	if h.backing != "" {
		be.PutUint64(b[offBackingOffset:], headerBytes)
		be.PutUint32(b[offBackingSize:], uint32(len(h.backing)))
	}
	be.PutUint64(b[offSize:], uint64(h.size))
	b[offClusterBits], b[offL2Bits] = byte(h.clusterBits), byte(h.l2Bits)
	be.PutUint64(b[offL1:], uint64(h.l1))
	return append(b, h.backing...)
}
