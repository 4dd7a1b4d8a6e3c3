package qcow2

import (
	"encoding/binary"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// Offsets in the bitmaps extension and in a bitmap directory entry, section "Bitmaps".
const (
	bitmapsExtensionSize  = 24
	bitmapsCount          = 0
	bitmapsDirectorySize  = 8
	bitmapsDirectoryStart = 16
	bitmapTableOffset     = 0
	bitmapTableEntries    = 8
	bitmapFlags           = 12
	bitmapType            = 16
	bitmapGranularity     = 17
	bitmapNameSize        = 18
	bitmapExtraSize       = 20
	bitmapEntrySize       = 24
)

// bitmapTypeDirty is the only type of bitmap that there is.
const bitmapTypeDirty = 1

// Flags of a bitmap directory entry.
const (
	bitmapInUse           = 1 << 0
	bitmapAuto            = 1 << 1
	bitmapExtraCompatible = 1 << 2
	bitmapFlagsKnown      = bitmapInUse | bitmapAuto | bitmapExtraCompatible
)

// Limits of the bitmap directory. They are QEMU's.
const (
	maxBitmaps         = 65535
	maxBitmapName      = 1023
	maxBitmapDirectory = maxBitmaps * (bitmapEntrySize + maxBitmapName + 1)
	// maxBitmapTable is as long as an L1 table may be.
	maxBitmapTable       = maxL1Bytes
	maxBitmapGranularity = 31 // log2 of bytes
	minBitmapGranularity = 9
)

// bitmapEntry is an entry of the bitmap directory.
type bitmapEntry struct {
	off         int64 // of the entry in the file
	table       int64 // offset of the bitmap table
	entries     int64 // of the table
	flags       uint32
	kind        uint8
	granularity uint   // log2 of bytes
	extra       []byte // of unknown meaning
	name        string
}

// usable tells if the bitmap is what it seems to be, section "Bitmap directory": type,
// flags and extra data of unknown meaning say that it is not.
func (b *bitmapEntry) usable() bool {
	return b.kind == bitmapTypeDirty && b.flags&^bitmapFlagsKnown == 0 &&
		(len(b.extra) == 0 || b.flags&bitmapExtraCompatible != 0)
}

// hasBitmaps tells if the image says that it has bitmaps and that they are consistent.
func (h *header) hasBitmaps() bool {
	return h.autoclear&autoclearBitmaps != 0 && h.extensionData(extBitmaps) != nil
}

// bitmapDirectory is where the extension says that the directory lies; ok tells if that can
// be.
func (im *Image) bitmapDirectory() (off, size int64, ok bool) {
	ext := im.hdr.extensionData(extBitmaps)
	if len(ext) < bitmapsExtensionSize {
		return 0, 0, false
	}
	size = int64(binary.BigEndian.Uint64(ext[bitmapsDirectorySize:]))
	off = int64(binary.BigEndian.Uint64(ext[bitmapsDirectoryStart:]))
	ok = size > 0 && size <= maxBitmapDirectory && validTable(off, size, im.clusterSize) && off+size <= im.file.Size()
	return off, size, ok
}

// readBitmaps reads the bitmap directory.
func (im *Image) readBitmaps() ([]bitmapEntry, error) {
	off, size, ok := im.bitmapDirectory()
	if !ok {
		return nil, im.corrupt("read", off, "Invalid bitmap directory of %d bytes", size)
	}
	dir := make([]byte, size)
	if err := readPadded(im.file, dir, off); err != nil {
		return nil, err
	}
	var list []bitmapEntry
	for at := int64(0); at < size; {
		b, n, ok := decodeBitmapEntry(dir[at:])
		if !ok {
			return nil, im.corrupt("read", off+at, "Invalid entry in the bitmap directory")
		}
		b.off = off + at
		list = append(list, b)
		at += n
	}
	if count := binary.BigEndian.Uint32(im.hdr.extensionData(extBitmaps)[bitmapsCount:]); int64(len(list)) != int64(count) {
		return nil, im.corrupt("read", off, "Bitmap directory has %d entries, not %d", len(list), count)
	}
	return list, nil
}

// decodeBitmapEntry decodes the entry at the beginning of dir and tells its padded length.
func decodeBitmapEntry(dir []byte) (b bitmapEntry, n int64, ok bool) {
	if len(dir) < bitmapEntrySize {
		return b, 0, false
	}
	be := binary.BigEndian
	name := int64(be.Uint16(dir[bitmapNameSize:]))
	extra := int64(be.Uint32(dir[bitmapExtraSize:]))
	n = bitmapEntrySize + extra + name
	if name == 0 || name > maxBitmapName || n > int64(len(dir)) {
		return b, 0, false
	}
	b = bitmapEntry{
		table:       int64(be.Uint64(dir[bitmapTableOffset:])),
		entries:     int64(be.Uint32(dir[bitmapTableEntries:])),
		flags:       be.Uint32(dir[bitmapFlags:]),
		kind:        dir[bitmapType],
		granularity: uint(dir[bitmapGranularity]),
		extra:       append([]byte(nil), dir[bitmapEntrySize:bitmapEntrySize+extra]...),
		name:        string(dir[n-name : n]),
	}
	ok = b.granularity >= minBitmapGranularity && b.granularity <= maxBitmapGranularity
	return b, min((n+7)&^7, int64(len(dir))), ok
}

// encode is the directory entry, padded.
func (b *bitmapEntry) encode() []byte {
	out := make([]byte, bitmapEntrySize, b.encodedSize())
	be := binary.BigEndian
	be.PutUint64(out[bitmapTableOffset:], uint64(b.table))
	be.PutUint32(out[bitmapTableEntries:], uint32(b.entries))
	be.PutUint32(out[bitmapFlags:], b.flags)
	out[bitmapType], out[bitmapGranularity] = b.kind, uint8(b.granularity)
	be.PutUint16(out[bitmapNameSize:], uint16(len(b.name)))
	be.PutUint32(out[bitmapExtraSize:], uint32(len(b.extra)))
	out = append(out, b.extra...)
	out = append(out, b.name...)
	return append(out, make([]byte, -len(out)&7)...)
}

func (b *bitmapEntry) encodedSize() int64 {
	return int64(bitmapEntrySize+len(b.extra)+len(b.name)+7) &^ 7
}

// setBitmapDirectory makes the header say where the directory is, durably; size 0 is none.
// The extension comes last, where QEMU writes it: so none of the others moves.
func (im *Image) setBitmapDirectory(count int, off, size int64) error {
	h := *im.hdr
	if size == 0 {
		h.setExtension(extBitmaps, nil)
		h.autoclear &^= autoclearBitmaps
		return im.rewriteHeader(&h)
	}
	data := make([]byte, bitmapsExtensionSize)
	binary.BigEndian.PutUint32(data[bitmapsCount:], uint32(count))
	binary.BigEndian.PutUint64(data[bitmapsDirectorySize:], uint64(size))
	binary.BigEndian.PutUint64(data[bitmapsDirectoryStart:], uint64(off))
	if h.extensionData(extBitmaps) != nil {
		h.setExtension(extBitmaps, data)
	} else {
		h.extensions = append(h.extensions[:len(h.extensions):len(h.extensions)], extension{extBitmaps, data})
	}
	h.autoclear |= autoclearBitmaps
	return im.rewriteHeader(&h)
}

// bitmapFields are the bitmaps in the words of info; nil if there are none. mu is held.
func (im *Image) bitmapFields() []any {
	var out []any
	for _, b := range im.bitmaps {
		flags := []any{}
		if b.flags&bitmapInUse != 0 {
			flags = append(flags, "in-use")
		}
		if b.flags&bitmapAuto != 0 {
			flags = append(flags, "auto")
		}
		fields := []blockdev.InfoField{{Key: "flags", Value: flags}, {Key: "name", Value: b.name}}
		if unknown := b.flags &^ bitmapFlagsKnown; unknown != 0 {
			fields = append(fields, blockdev.InfoField{Key: "unknown-flags", Value: int64(unknown)})
		}
		out = append(out, append(fields, blockdev.InfoField{Key: "granularity", Value: int64(1) << b.granularity}))
	}
	return out
}

// bitmapError words what is wrong with a bitmap.
func (im *Image) bitmapError(kind error, format string, args ...any) error {
	return blockdev.Errorf(kind, "bitmap", im.name, "%s", fmt.Sprintf(format, args...))
}
