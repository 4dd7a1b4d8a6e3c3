package bochs

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

// What the header says of itself, each ending with a zero byte.
const (
	magic      = "Bochs Virtual HD Image\x00"
	typeName   = "Redolog\x00"
	subtype    = "Growing\x00"
	version1   = 0x10000
	version2   = 0x20000
	sectorSize = 512
)

// Offsets of the header's fields.
const (
	offType       = 32
	offSubtype    = 48
	offVersion    = 64
	offHeaderSize = 68 // the catalog follows
	offCatalog    = 72 // entries
	offBitmapSize = 76 // bytes
	offExtentSize = 80 // bytes
	offDiskSizeV1 = 84 // bytes
	offDiskSize   = 88 // behind a time stamp
	headerBytes   = 512
)

const (
	// maxCatalog is how many entries a catalog has at most, the same as QEMU's: with the
	// largest extents, 8 TiB.
	maxCatalog = 1 << 20
	// maxExtentSize is QEMU's too. It bounds a bitmap to 2 KiB.
	maxExtentSize = 8 << 20
)

// header is what matters of the header, in bytes.
type header struct {
	size          int64 // of the disk
	extents       int64 // of the disk
	extentSize    int64
	bitmapSectors int64
	catalogOffset int64
	dataOffset    int64 // of the first bitmap
}

// isGrowing tells if head begins an image of a kind that is read here.
func isGrowing(head []byte) bool {
	has := func(off int, text string) bool { return string(head[off:off+len(text)]) == text }
	version := binary.LittleEndian.Uint32(head[offVersion:])
	return has(0, magic) && has(offType, typeName) && has(offSubtype, subtype) &&
		(version == version1 || version == version2)
}

// readHeader reads the header and refuses what cannot be right, in QEMU's order.
func readHeader(file blockdev.Node, name string) (h header, err error) {
	refuse := func(kind error, format string, args ...any) (header, error) {
		return header{}, blockdev.Errorf(kind, "open", name, format, args...)
	}
	b := make([]byte, headerBytes)
	if file.Size() < headerBytes {
		return refuse(blockdev.ErrFormat, "Image not in Bochs format")
	}
	if _, err := file.ReadAt(b, 0); err != nil {
		return header{}, err
	}
	if !isGrowing(b) {
		return refuse(blockdev.ErrFormat, "Image not in Bochs format")
	}
	le := binary.LittleEndian
	size := le.Uint64(b[offDiskSize:])
	if le.Uint32(b[offVersion:]) == version1 {
		size = le.Uint64(b[offDiskSizeV1:])
	}
	catalog, extent, bitmap := le.Uint32(b[offCatalog:]), le.Uint32(b[offExtentSize:]), le.Uint32(b[offBitmapSize:])
	switch {
	case catalog > maxCatalog:
		return refuse(blockdev.ErrLimit, "Catalog size is too large")
	case extent < sectorSize:
		return refuse(blockdev.ErrCorrupt, "Extent size must be at least 512")
	case extent&(extent-1) != 0:
		return refuse(blockdev.ErrCorrupt, "Extent size %d is not a power of two", extent)
	case extent > maxExtentSize:
		return refuse(blockdev.ErrLimit, "Extent size %d is too large", extent)
	case size/sectorSize > uint64(catalog)*uint64(extent/sectorSize):
		return refuse(blockdev.ErrCorrupt, "Catalog size is too small for this disk size")
	case uint64(bitmap)*8 < uint64(extent/sectorSize):
		return refuse(blockdev.ErrCorrupt, "Bitmap size %d is too small for extents of %d bytes", bitmap, extent)
	}
	h = header{
		size: int64(size / sectorSize * sectorSize), extentSize: int64(extent),
		bitmapSectors: (int64(bitmap) + sectorSize - 1) / sectorSize,
		catalogOffset: int64(le.Uint32(b[offHeaderSize:])),
	}
	h.extents = (h.size + h.extentSize - 1) / h.extentSize
	h.dataOffset = h.catalogOffset + int64(catalog)*entryBytes
	if h.dataOffset > file.Size() {
		return refuse(blockdev.ErrCorrupt, "the catalog, %d entries at 0x%x, is not in the file", catalog, h.catalogOffset)
	}
	return h, nil
}
