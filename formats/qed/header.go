package qed

import (
	"encoding/binary"
	"math/bits"

	"github.com/qmon/qmon/blockdev"
)

// Offsets of the header's fields, section "Header".
const (
	offMagic         = 0
	offClusterSize   = 4
	offTableSize     = 8  // clusters
	offHeaderSize    = 12 // clusters
	offFeatures      = 16
	offCompat        = 24
	offAutoclear     = 32
	offL1            = 40
	offSize          = 48
	offBackingOffset = 56
	offBackingSize   = 60
	headerBytes      = 64
	entryBytes       = 8
	sectorSize       = 512
	magic            = "QED\x00"
)

// Feature bits, section "Feature bits".
const (
	featureBacking    = 1 << 0
	featureNeedCheck  = 1 << 1
	featureBackingRaw = 1 << 2 // the backing file is raw, whatever it looks like
	knownFeatures     = featureBacking | featureNeedCheck | featureBackingRaw
)

// Limits of the format.
const (
	minClusterSize = 4 << 10
	maxClusterSize = 64 << 20
	maxTableSize   = 16
	// maxBackingName is QEMU's limit, bytes.
	maxBackingName = 1023
)

// header is what it says, checked.
type header struct {
	clusterSize int64
	tableSize   int64 // clusters
	headerSize  int64 // clusters
	features    uint64
	compat      uint64 // bits that need not be known, and are kept
	autoclear   uint64
	l1          int64
	size        int64
	backing     string
}

// entries is how many a table has.
func (h *header) entries() int64 { return h.tableBytes() / entryBytes }

func (h *header) tableBytes() int64 { return h.tableSize * h.clusterSize }

// maxSize is the largest disk: all that the L1 table reaches, if that is a size at all.
func (h *header) maxSize() int64 {
	hi, lo := bits.Mul64(uint64(h.entries()*h.entries()), uint64(h.clusterSize))
	if hi != 0 || lo > blockdev.MaxSize {
		return blockdev.MaxSize / maxClusterSize * maxClusterSize
	}
	return int64(lo)
}

// dataStart is where clusters of data may begin.
func (h *header) dataStart() int64 { return h.headerSize * h.clusterSize }

func powerOfTwo(n, from, to int64) bool { return n >= from && n <= to && n&(n-1) == 0 }

func readHeader(file blockdev.Node, name string) (*header, error) {
	refuse := func(kind error, format string, args ...any) (*header, error) {
		return nil, blockdev.Errorf(kind, "open", name, format, args...)
	}
	b := make([]byte, headerBytes)
	if file.Size() < headerBytes {
		return refuse(blockdev.ErrFormat, "Image not in QED format")
	}
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	h := &header{
		clusterSize: int64(le.Uint32(b[offClusterSize:])), tableSize: int64(le.Uint32(b[offTableSize:])),
		headerSize: int64(le.Uint32(b[offHeaderSize:])),
		features:   le.Uint64(b[offFeatures:]), compat: le.Uint64(b[offCompat:]), autoclear: le.Uint64(b[offAutoclear:]),
	}
	size, l1 := le.Uint64(b[offSize:]), le.Uint64(b[offL1:])
	switch {
	case string(b[:len(magic)]) != magic:
		return refuse(blockdev.ErrFormat, "Image not in QED format")
	case h.features&^knownFeatures != 0:
		return refuse(blockdev.ErrNotSupported, "Unsupported QED features: %x", h.features&^knownFeatures)
	case !powerOfTwo(h.clusterSize, minClusterSize, maxClusterSize):
		return refuse(blockdev.ErrCorrupt, "QED cluster size is invalid")
	case !powerOfTwo(h.tableSize, 1, maxTableSize):
		return refuse(blockdev.ErrCorrupt, "QED table size is invalid")
	case size%sectorSize != 0 || size > uint64(h.maxSize()):
		return refuse(blockdev.ErrCorrupt, "QED image size is invalid")
	case l1 > blockdev.MaxSize || !h.isPlace(int64(l1), h.tableBytes(), file.Size()) || h.headerSize == 0:
		return refuse(blockdev.ErrCorrupt, "QED table offset is invalid")
	}
	h.size, h.l1 = int64(size), int64(l1)
	return h, h.readBacking(file, b, name)
}

// isPlace tells if n bytes at off, clusters of data or a table, are in a file of that size.
func (h *header) isPlace(off, n, fileSize int64) bool {
	return off >= h.dataStart() && off%h.clusterSize == 0 && off <= fileSize-n
}

// overL1 tells if n bytes at off lie over the L1 table.
func (h *header) overL1(off, n int64) bool { return off < h.l1+h.tableBytes() && h.l1 < off+n }

func (h *header) readBacking(file blockdev.Node, b []byte, name string) error {
	if h.features&featureBacking == 0 {
		return nil
	}
	le := binary.LittleEndian
	off, n := int64(le.Uint32(b[offBackingOffset:])), int64(le.Uint32(b[offBackingSize:]))
	switch {
	case off+n > h.dataStart() || off+n > file.Size():
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "QED backing filename offset is invalid")
	case n > maxBackingName:
		return blockdev.Errorf(blockdev.ErrLimit, "open", name, "the backing file name has %d bytes, more than %d", n, maxBackingName)
	}
	text := make([]byte, n)
	_, err := file.ReadAt(text, off)
	h.backing = string(text)
	return err
}

// encode makes the header with the backing file's name behind it.
func (h *header) encode() []byte {
	b := make([]byte, headerBytes)
	le := binary.LittleEndian
	copy(b[offMagic:], magic)
	le.PutUint32(b[offClusterSize:], uint32(h.clusterSize))
	le.PutUint32(b[offTableSize:], uint32(h.tableSize))
	le.PutUint32(b[offHeaderSize:], uint32(h.headerSize))
	le.PutUint64(b[offFeatures:], h.features)
	le.PutUint64(b[offCompat:], h.compat)
	le.PutUint64(b[offAutoclear:], h.autoclear)
	le.PutUint64(b[offL1:], uint64(h.l1))
	le.PutUint64(b[offSize:], uint64(h.size))
	if h.backing != "" {
		le.PutUint32(b[offBackingOffset:], headerBytes)
		le.PutUint32(b[offBackingSize:], uint32(len(h.backing)))
	}
	return append(b, h.backing...)
}

// setBacking makes h refer to a backing file. Its format is not recorded, but for raw.
func (h *header) setBacking(name, format string) {
	h.backing = name
	h.features &^= featureBacking | featureBackingRaw
	if name != "" {
		h.features |= featureBacking
	}
	if name != "" && format == "raw" {
		h.features |= featureBackingRaw
	}
}
