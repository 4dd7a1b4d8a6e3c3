package parallels

import (
	"crypto/md5"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/qmon/qmon/blockdev"
)

// The format extension is a cluster with features, section "Format Extension". The only one
// that there is are dirty bitmaps.
const (
	extensionMagic  = 0xab234cef23dcea87
	extensionHeader = 24 // magic and MD5, of what is behind them
	featureEnd      = 0
	featureBitmap   = 0x20385fae252cb34a
	featureHeader   = 24
	offFeatureSize  = 16

	offBitmapID          = 8
	offBitmapGranularity = 24 // sectors
	offBitmapL1Size      = 28
	bitmapHeader         = 32
	bitmapEntryBytes     = 8
	entryAllClean        = 0
	entryAllDirty        = 1
)

// maxExtension bounds the cluster with the extension, which is read as a whole, bytes. The
// default of all tools is 1 MiB.
const maxExtension = 64 << 20

// bitmap is a dirty bitmap as the extension describes it.
type bitmap struct {
	id          string
	granularity int64    // bytes
	table       []uint64 // 0, 1, or a sector of the file for each cluster of bits
}

// withBitmaps is an image with a format extension, which is only read: its dirty bitmaps can
// be exported. They are looked for when somebody asks, so that damage to them keeps nobody
// from the disk.
type withBitmaps struct{ *Image }

var _ blockdev.BitmapStore = withBitmaps{}

// readExtension reads all bitmaps.
func (im *Image) readExtension() ([]bitmap, error) {
	corrupt := func(format string, args ...any) error {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "bitmap", im.name, int64(im.header.extension)*sectorSize, format, args...)
	}
	size := im.header.clusterSize
	switch {
	case size > maxExtension:
		return nil, blockdev.Errorf(blockdev.ErrLimit, "bitmap", im.name, "a format extension of %d bytes is larger than %d", size, maxExtension)
	case im.header.extension > uint64(max(0, im.file.Size()-size))/sectorSize:
		return nil, corrupt("the format extension is not in the file")
	}
	b := make([]byte, size)
	if _, err := im.file.ReadAt(b, int64(im.header.extension)*sectorSize); err != nil {
		return nil, err
	}
	if size < extensionHeader+featureHeader || binary.LittleEndian.Uint64(b) != extensionMagic {
		return nil, corrupt("the format extension has no magic number")
	}
	if md5.Sum(b[extensionHeader:]) != [md5.Size]byte(b[8:]) {
		return nil, corrupt("the checksum of the format extension does not match")
	}
	var list []bitmap
	for b = b[extensionHeader:]; ; {
		if len(b) < featureHeader {
			return nil, corrupt("the format extension has no end")
		}
		kind, n := binary.LittleEndian.Uint64(b), int64(binary.LittleEndian.Uint32(b[offFeatureSize:]))
		b = b[featureHeader:]
		if n > int64(len(b)) {
			return nil, corrupt("a feature of %d bytes is longer than the format extension", n)
		}
		switch kind {
		case featureEnd:
			return list, nil
		case featureBitmap:
			m, err := im.decodeBitmap(b[:n])
			if err != nil {
				return nil, corrupt("dirty bitmap: %v", err)
			}
			list = append(list, m)
		}
		b = b[min((n+7)&^7, int64(len(b))):]
	}
}

// decodeBitmap reads a feature, section "Dirty bitmaps feature".
func (im *Image) decodeBitmap(b []byte) (m bitmap, err error) {
	if len(b) < bitmapHeader {
		return m, io.ErrUnexpectedEOF
	}
	le := binary.LittleEndian
	id := b[offBitmapID:offBitmapGranularity]
	m.id = fmt.Sprintf("%s-%s-%s-%s-%s", hex.EncodeToString(id[:4]), hex.EncodeToString(id[4:6]),
		hex.EncodeToString(id[6:8]), hex.EncodeToString(id[8:10]), hex.EncodeToString(id[10:]))
	m.granularity = int64(le.Uint32(b[offBitmapGranularity:])) * sectorSize
	if sectors := le.Uint64(b); sectors != uint64(im.header.size/sectorSize) {
		return m, fmt.Errorf("it is for %d sectors, the disk has %d", sectors, im.header.size/sectorSize)
	}
	n := int64(le.Uint32(b[offBitmapL1Size:]))
	if n > int64(len(b)-bitmapHeader)/bitmapEntryBytes {
		return m, io.ErrUnexpectedEOF
	}
	for i := range n {
		m.table = append(m.table, le.Uint64(b[bitmapHeader+i*bitmapEntryBytes:]))
	}
	return m, nil
}

// loadBitmap reads the bits.
func (im *Image) loadBitmap(m bitmap) (*blockdev.DirtyBitmap, error) {
	d, err := blockdev.NewDirtyBitmap(im.Size(), m.granularity)
	if err != nil {
		return nil, err
	}
	cs := im.header.clusterSize
	if need := (d.EncodedSize() + cs - 1) / cs; int64(len(m.table)) < need {
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "bitmap", im.name, "Bitmap '%s' has a table of %d entries, not %d", m.id, len(m.table), need)
	}
	for at := int64(0); at < d.EncodedSize(); at += cs {
		n := min(cs, d.EncodedSize()-at)
		switch e := m.table[at/cs]; {
		case e == entryAllClean:
		case e == entryAllDirty:
			d.Set(at*8*m.granularity, n*8*m.granularity)
		case e > uint64(max(0, im.file.Size()-n))/sectorSize:
			return nil, blockdev.Errorf(blockdev.ErrCorrupt, "bitmap", im.name, "bits of bitmap '%s', at sector %d, are not in the file", m.id, e)
		default:
			bits := make([]byte, n)
			if _, err := im.file.ReadAt(bits, int64(e)*sectorSize); err != nil {
				return nil, err
			}
			d.Decode(bits, at)
		}
	}
	return d, nil
}

// Bitmaps lists those of the extension.
func (w withBitmaps) Bitmaps() ([]blockdev.BitmapInfo, error) {
	list, err := w.readExtension()
	if err != nil {
		return nil, err
	}
	var out []blockdev.BitmapInfo
	for _, m := range list {
		out = append(out, blockdev.BitmapInfo{Name: m.id, Granularity: m.granularity})
	}
	return out, nil
}

// DirtyBitmap gives the contents of a bitmap, which is called by its identifier.
func (w withBitmaps) DirtyBitmap(name string) (*blockdev.DirtyBitmap, error) {
	list, err := w.readExtension()
	if err != nil {
		return nil, err
	}
	for _, m := range list {
		if m.id == name {
			return w.loadBitmap(m)
		}
	}
	return nil, blockdev.Errorf(blockdev.ErrNotFound, "bitmap", w.name, "Bitmap '%s' is not found", name)
}

// readOnlyBitmaps is why nothing below works.
func (w withBitmaps) readOnlyBitmaps() error {
	return blockdev.Errorf(blockdev.ErrNotSupported, "bitmap", w.name, "bitmaps of parallels images can only be read")
}

// AddBitmap fails: an image with an extension is only read.
func (w withBitmaps) AddBitmap(blockdev.BitmapInfo) error { return w.readOnlyBitmaps() }

// RemoveBitmap fails likewise.
func (w withBitmaps) RemoveBitmap(string) error { return w.readOnlyBitmaps() }

// ClearBitmap fails likewise.
func (w withBitmaps) ClearBitmap(string) error { return w.readOnlyBitmaps() }

// EnableBitmap fails likewise.
func (w withBitmaps) EnableBitmap(string, bool) error { return w.readOnlyBitmaps() }

// MergeBitmap fails likewise.
func (w withBitmaps) MergeBitmap(string, *blockdev.DirtyBitmap) error { return w.readOnlyBitmaps() }
