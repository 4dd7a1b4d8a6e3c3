package qcow2

import (
	"encoding/binary"
	"errors"

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
	bitmapGranularity     = 17
	bitmapNameSize        = 18
	bitmapExtraSize       = 20
	bitmapEntrySize       = 24
)

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
	maxBitmapDirectory = maxBitmaps * (bitmapEntrySize + maxBackingName + 1)
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
	granularity uint // log2 of bytes
	name        string
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
	if name == 0 || name > maxBackingName || n > int64(len(dir)) {
		return b, 0, false
	}
	b = bitmapEntry{
		table:       int64(be.Uint64(dir[bitmapTableOffset:])),
		entries:     int64(be.Uint32(dir[bitmapTableEntries:])),
		flags:       be.Uint32(dir[bitmapFlags:]),
		granularity: uint(dir[bitmapGranularity]),
		name:        string(dir[n-name : n]),
	}
	ok = b.granularity >= minBitmapGranularity && b.granularity <= maxBitmapGranularity
	return b, min((n+7)&^7, int64(len(dir))), ok
}

// suspendBitmaps is what writing without tracking asks for: bitmaps that are to follow all
// writes are marked in use, which is to say out of date; those that are disabled stay as
// they are. It tells if all of the directory could be understood; else the autoclear bit
// has to go.
func (im *Image) suspendBitmaps() (bool, error) {
	if !im.hdr.hasBitmaps() {
		return false, nil
	}
	list, err := im.readBitmaps()
	if errors.Is(err, blockdev.ErrCorrupt) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	// What the header calls the directory may be another table.
	if off, size, _ := im.bitmapDirectory(); im.metadataAt(off, size) != "" {
		return false, nil
	}
	if im.mode.Check {
		return true, nil // repairs leave guest data alone
	}
	for _, b := range list {
		if b.flags&bitmapAuto == 0 || b.flags&bitmapInUse != 0 {
			continue
		}
		var flags [4]byte
		binary.BigEndian.PutUint32(flags[:], b.flags|bitmapInUse)
		if _, err := im.file.WriteAt(flags[:], b.off+bitmapFlags); err != nil {
			return false, err
		}
	}
	return true, im.file.Flush()
}

// dropBitmaps makes all bitmaps count as inconsistent, as their size is no longer the
// disk's. A check then takes their clusters for leaked.
func (im *Image) dropBitmaps() error {
	if im.hdr.autoclear&autoclearBitmaps == 0 {
		return nil
	}
	return im.setFeatures(offAutoclear, &im.hdr.autoclear, im.hdr.autoclear&^autoclearBitmaps)
}

// bitmapFields are the bitmaps in the words of info; nil if there are none.
func (im *Image) bitmapFields() []any {
	if !im.hdr.hasBitmaps() {
		return nil
	}
	list, err := im.readBitmaps()
	if err != nil {
		return nil
	}
	var out []any
	for _, b := range list {
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
