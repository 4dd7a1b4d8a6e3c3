package qcow2

import (
	"encoding/binary"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// Offsets of the header's fields, section "Header".
const (
	offMagic             = 0
	offVersion           = 4
	offBackingOffset     = 8
	offBackingSize       = 16
	offClusterBits       = 20
	offSize              = 24
	offCryptMethod       = 32
	offL1Size            = 36
	offL1Offset          = 40
	offRefTableOffset    = 48
	offRefTableClusters  = 56
	offSnapshotCount     = 60
	offSnapshotsOffset   = 64
	offIncompatible      = 72
	offCompatible        = 80
	offAutoclear         = 88
	offRefcountOrder     = 96
	offHeaderLength      = 100
	offCompressionType   = 104
	headerLengthV2       = 72
	headerLengthV3Min    = 104
	headerLengthV3       = 112 // what new images get: with the compression type, padded
	magic                = 0x514649fb
	v2RefcountOrder      = 4
	defaultClusterBits   = 16
	defaultRefcountOrder = 4
)

// Feature bits.
const (
	incompatDirty       = 1 << 0
	incompatCorrupt     = 1 << 1
	incompatDataFile    = 1 << 2
	incompatCompression = 1 << 3
	incompatExtendedL2  = 1 << 4
	incompatKnown       = incompatDirty | incompatCorrupt | incompatDataFile | incompatCompression | incompatExtendedL2

	// incompatUnfinished is not in the specification: it is far from what is, and from the
	// last bits, which experiments take. Everybody else refuses the image, too.
	incompatUnfinished = 1 << 48

	compatLazyRefcounts = 1 << 0

	autoclearBitmaps = 1 << 0
	autoclearRawData = 1 << 1
)

// Compression types, section "Additional fields".
const (
	compressionZlib = 0
	compressionZstd = 1
)

// Limits on what a header may claim. They are QEMU's, so that every image that QEMU opens
// is opened, and none makes us allocate more than these.
const (
	minClusterBits   = 9
	maxClusterBits   = 21
	maxRefcountOrder = 6
	// maxL1Bytes bounds an L1 table, which is held in memory as a whole.
	maxL1Bytes = 32 << 20
	// maxRefTableBytes bounds the refcount table, held in memory as a whole.
	maxRefTableBytes = 8 << 20
	// maxBackingName is the longest name the specification allows.
	maxBackingName = 1023
	// maxHostOffset is the end of what table entries can point to: they have 56 bits.
	maxHostOffset = 1 << 56
)

// header is the decoded header with its extensions.
type header struct {
	version          uint32
	backingName      string
	clusterBits      uint32
	size             int64
	cryptMethod      uint32
	l1Size           uint32
	l1Offset         int64
	refTableOffset   int64
	refTableClusters uint32
	snapshotCount    uint32
	snapshotsOffset  int64
	incompatible     uint64
	compatible       uint64
	autoclear        uint64
	refcountOrder    uint32
	length           uint32
	compression      uint8
	unknownFields    []byte // of the header, beyond headerLengthV3
	extensions       []extension
}

func (h *header) clusterSize() int64 { return 1 << h.clusterBits }

// readHeader reads and validates the header of file. For a check the refcount table may be
// missing: it is made anew.
func readHeader(file blockdev.Node, name string, check bool) (*header, error) {
	fixed := make([]byte, headerLengthV3)
	if err := readPadded(file, fixed, 0); err != nil {
		return nil, err
	}
	h := &header{}
	if err := h.decodeFixed(fixed, name); err != nil {
		return nil, err
	}
	if h.clusterBits < minClusterBits || h.clusterBits > maxClusterBits {
		return nil, headerError(name, offClusterBits, "Unsupported cluster size: 2^%d", h.clusterBits)
	}
	if h.version >= 3 {
		if h.length < headerLengthV3Min {
			return nil, headerError(name, offHeaderLength, "qcow2 header too short")
		}
		if int64(h.length) > h.clusterSize() {
			return nil, headerError(name, offHeaderLength, "qcow2 header exceeds cluster size")
		}
	}
	cluster := make([]byte, h.clusterSize())
	if err := readPadded(file, cluster, 0); err != nil {
		return nil, err
	}
	if h.length > headerLengthV3 {
		h.unknownFields = append([]byte(nil), cluster[headerLengthV3:h.length]...)
	}
	if err := h.decodeVariable(cluster, name); err != nil {
		return nil, err
	}
	return h, h.validate(name, check)
}

func (h *header) decodeFixed(b []byte, name string) error {
	be := binary.BigEndian
	if be.Uint32(b[offMagic:]) != magic {
		return blockdev.ErrorAt(blockdev.ErrFormat, "open", name, offMagic, "Image is not in qcow2 format")
	}
	h.version = be.Uint32(b[offVersion:])
	if h.version != 2 && h.version != 3 {
		return blockdev.ErrorAt(blockdev.ErrNotSupported, "open", name, offVersion, "Unsupported qcow2 version %d", h.version)
	}
	h.clusterBits = be.Uint32(b[offClusterBits:])
	h.size = int64(be.Uint64(b[offSize:]))
	h.cryptMethod = be.Uint32(b[offCryptMethod:])
	h.l1Size = be.Uint32(b[offL1Size:])
	h.l1Offset = int64(be.Uint64(b[offL1Offset:]))
	h.refTableOffset = int64(be.Uint64(b[offRefTableOffset:]))
	h.refTableClusters = be.Uint32(b[offRefTableClusters:])
	h.snapshotCount = be.Uint32(b[offSnapshotCount:])
	h.snapshotsOffset = int64(be.Uint64(b[offSnapshotsOffset:]))
	h.refcountOrder = v2RefcountOrder
	h.length = headerLengthV2
	if h.version == 2 {
		return nil
	}
	h.incompatible = be.Uint64(b[offIncompatible:])
	h.compatible = be.Uint64(b[offCompatible:])
	h.autoclear = be.Uint64(b[offAutoclear:])
	h.refcountOrder = be.Uint32(b[offRefcountOrder:])
	h.length = be.Uint32(b[offHeaderLength:])
	if h.length > offCompressionType {
		h.compression = b[offCompressionType]
	}
	return nil
}

// decodeVariable reads the extensions and the backing file name from the first cluster.
func (h *header) decodeVariable(cluster []byte, name string) error {
	backing := int64(binary.BigEndian.Uint64(cluster[offBackingOffset:]))
	size := int64(binary.BigEndian.Uint32(cluster[offBackingSize:]))
	end := h.clusterSize()
	if backing != 0 {
		if backing < 0 || backing >= end {
			return headerError(name, offBackingOffset, "Invalid backing file offset")
		}
		end = backing
	}
	var err error
	if h.extensions, err = decodeExtensions(cluster, int64(h.length), end, name); err != nil {
		return err
	}
	if backing == 0 {
		return nil
	}
	if size > maxBackingName || size > h.clusterSize()-backing {
		return headerError(name, offBackingSize, "Backing file name too long")
	}
	h.backingName = string(cluster[backing : backing+size])
	return nil
}

// validate checks what the fields say against the limits and against each other.
func (h *header) validate(name string, check bool) error {
	if err := h.validateFeatures(name); err != nil {
		return err
	}
	if err := h.validateEncryption(name); err != nil {
		return err
	}
	if h.refcountOrder > maxRefcountOrder {
		return headerError(name, offRefcountOrder, "Reference count entry width too large; may not exceed 64 bits")
	}
	if err := h.validateTables(name, check); err != nil {
		return err
	}
	if h.size < 0 || h.l1Needed(h.size) > maxL1Bytes/8 {
		return limitError(name, offSize, "Image is too big")
	}
	if int64(h.l1Size) < h.l1Needed(h.size) {
		return headerError(name, offL1Size, "L1 table is too small")
	}
	return nil
}

// validateTables checks where the header says that tables lie.
func (h *header) validateTables(name string, check bool) error {
	cs := h.clusterSize()
	switch {
	case h.refTableClusters == 0 && !check:
		return headerError(name, offRefTableClusters, "Image does not contain a reference count table")
	case int64(h.refTableClusters)*cs > maxRefTableBytes && h.refTableClusters > 1:
		return limitError(name, offRefTableClusters, "Reference count table too large")
	case !validTable(h.refTableOffset, int64(h.refTableClusters)*cs, cs):
		return headerError(name, offRefTableOffset, "Reference count table offset invalid")
	case h.snapshotCount > maxSnapshots && !check:
		return limitError(name, offSnapshotCount, "Snapshot table too large")
	case !validTable(h.snapshotsOffset, int64(h.snapshotCount)*snapshotFixedSize, cs) && !check:
		return headerError(name, offSnapshotsOffset, snapshotsOffsetInvalid)
	case int64(h.l1Size) > maxL1Bytes/8:
		return limitError(name, offL1Size, "Active L1 table too large")
	case !validTable(h.l1Offset, int64(h.l1Size)*8, cs):
		return headerError(name, offL1Offset, "Active L1 table offset invalid")
	}
	return nil
}

// validTable tells if a table may lie at off: aligned, and within what can be addressed.
func validTable(off, length, clusterSize int64) bool {
	return off >= 0 && off%clusterSize == 0 && off <= maxHostOffset-length
}

// validateFeatures refuses what this package cannot treat rightly.
func (h *header) validateFeatures(name string) error {
	if h.incompatible&incompatUnfinished != 0 {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, offIncompatible,
			"The image is unfinished: what was filling it was interrupted")
	}
	if unknown := h.incompatible &^ incompatKnown; unknown != 0 {
		return blockdev.ErrorAt(blockdev.ErrNotSupported, "open", name, offIncompatible,
			"Unsupported qcow2 feature(s): %s", h.featureNames(unknown))
	}
	if h.incompatible&incompatCompression != 0 {
		if h.compression == compressionZlib {
			return headerError(name, offCompressionType, "qcow2: Compression type incompatible feature bit must not be set")
		}
		if h.compression != compressionZstd {
			return blockdev.ErrorAt(blockdev.ErrNotSupported, "open", name, offCompressionType,
				"qcow2: unknown compression type: %d", h.compression)
		}
	} else if h.compression != compressionZlib {
		return headerError(name, offCompressionType, "qcow2: Compression type incompatible feature bit must be set")
	}
	if h.incompatible&incompatExtendedL2 != 0 && h.clusterBits < minExtendedClusterBits {
		return headerError(name, offClusterBits, "Unsupported subcluster size: 2^%d with extended L2 entries", h.clusterBits-subclusterBits)
	}
	return nil
}

func (h *header) geometry() l2Geometry {
	return newL2Geometry(uint(h.clusterBits), h.incompatible&incompatExtendedL2 != 0)
}

func (h *header) l1Needed(size int64) int64 {
	g := h.geometry()
	return g.l1Needed(size)
}

// encodeFixed is the header without extensions and backing file name.
func (h *header) encodeFixed() []byte {
	b := make([]byte, h.length)
	be := binary.BigEndian
	be.PutUint32(b[offMagic:], magic)
	be.PutUint32(b[offVersion:], h.version)
	be.PutUint32(b[offClusterBits:], h.clusterBits)
	be.PutUint64(b[offSize:], uint64(h.size))
	be.PutUint32(b[offCryptMethod:], h.cryptMethod)
	be.PutUint32(b[offL1Size:], h.l1Size)
	be.PutUint64(b[offL1Offset:], uint64(h.l1Offset))
	be.PutUint64(b[offRefTableOffset:], uint64(h.refTableOffset))
	be.PutUint32(b[offRefTableClusters:], h.refTableClusters)
	be.PutUint32(b[offSnapshotCount:], h.snapshotCount)
	be.PutUint64(b[offSnapshotsOffset:], uint64(h.snapshotsOffset))
	if h.version == 2 {
		return b
	}
	be.PutUint64(b[offIncompatible:], h.incompatible)
	be.PutUint64(b[offCompatible:], h.compatible)
	be.PutUint64(b[offAutoclear:], h.autoclear)
	be.PutUint32(b[offRefcountOrder:], h.refcountOrder)
	be.PutUint32(b[offHeaderLength:], h.length)
	if h.length > offCompressionType {
		b[offCompressionType] = h.compression
	}
	if h.length > headerLengthV3 {
		copy(b[headerLengthV3:], h.unknownFields)
	}
	return b
}

// encode is the whole first cluster up to the end of the backing file name. The header
// grows to the current length, as QEMU's does whenever it is rewritten. Section "Header
// extensions": the name lies between the extensions and the end of the cluster, here not
// before nameAt.
func (h *header) encode(name string, nameAt int) ([]byte, error) {
	if h.version >= 3 && h.length < headerLengthV3 {
		h.length = headerLengthV3
	}
	fixed := h.encodeFixed()
	limit := int(h.clusterSize()) - len(h.backingName)
	b, ok := appendExtensions(fixed, h.extensions, limit)
	if !ok || h.backingName != "" && nameAt > limit {
		return nil, blockdev.Errorf(blockdev.ErrLimit, "write", name, "Header extensions and backing file name do not fit into the first cluster")
	}
	if h.backingName != "" {
		b = append(b, make([]byte, max(nameAt-len(b), 0))...)
		binary.BigEndian.PutUint64(b[offBackingOffset:], uint64(len(b)))
		binary.BigEndian.PutUint32(b[offBackingSize:], uint32(len(h.backingName)))
		b = append(b, h.backingName...)
	}
	return b, nil
}

func headerError(name string, off int64, format string, args ...any) error {
	return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, off, "%s", fmt.Sprintf(format, args...))
}

func limitError(name string, off int64, text string) error {
	return blockdev.ErrorAt(blockdev.ErrLimit, "open", name, off, "%s", text)
}
