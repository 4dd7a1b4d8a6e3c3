// Package bochs reads the "growing" disk images of Bochs, versions 1 and 2.
//
//	0         512
//	| header  | catalog | bitmap | extent 0 | bitmap | extent 1 | ...
//	               |                           ^
//	               +---------------------------+
//
// The catalog has for each extent of the disk 4 bytes: which extent of the file holds it,
// or that none does. In front of each extent of the file is a bitmap of the sectors in it
// that were written; all others read as zeroes. Numbers are little-endian.
//
// The layout is in the Bochs developers' guide, section "Harddisk Images based on
// redologs".
package bochs

import (
	"context"
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/readonly"
)

const entryBytes = 4 // of the catalog

// entryNone is the entry of an extent that is not in the file.
const entryNone = 0xffffffff

func init() {
	blockdev.Register(blockdev.Driver{
		Name:  "bochs",
		Probe: probe,
		Open:  blockdev.Opener(Open),
	})
}

// probe knows an image by what the header calls it.
func probe(head []byte, _ string) int {
	if len(head) >= headerBytes && isGrowing(head) {
		return 100
	}
	return 0
}

// Image is an opened image: a [blockdev.Node].
type Image struct {
	readonly.Image
	header  header
	catalog []byte
}

var (
	_ blockdev.Node     = (*Image)(nil)
	_ blockdev.Informer = (*Image)(nil)
)

// Open opens the image in r.File, read-only.
func Open(_ context.Context, r blockdev.OpenRequest) (*Image, error) {
	if err := readonly.CheckMode(r); err != nil {
		return nil, err
	}
	h, err := readHeader(r.File, r.Filename)
	if err != nil {
		return nil, err
	}
	im := &Image{Image: readonly.New(r, h.size), header: h, catalog: make([]byte, h.extents*entryBytes)}
	if _, err := r.File.ReadAt(im.catalog, h.catalogOffset); err != nil {
		return nil, err
	}
	return im, nil
}

// ReadAt reads guest bytes.
func (im *Image) ReadAt(p []byte, off int64) (int, error) { return blockdev.Read(im, p, off) }

// Map tells which sectors are in the file, and where.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := im.CheckRange("map", off, n); err != nil || n == 0 {
		return blockdev.Extent{}, err
	}
	h := &im.header
	absent := int64(0)
	for absent < n && im.entry(off+absent) == entryNone {
		absent = min(n, absent+h.extentSize-(off+absent)%h.extentSize)
	}
	if absent > 0 {
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: absent}, nil
	}
	return im.mapExtent(im.entry(off), off, min(n, h.extentSize-off%h.extentSize))
}

func (im *Image) entry(off int64) uint32 {
	return binary.LittleEndian.Uint32(im.catalog[off/im.header.extentSize*entryBytes:])
}

// mapExtent looks for the run of sectors at off that are alike in the bitmap of an extent.
func (im *Image) mapExtent(entry uint32, off, n int64) (blockdev.Extent, error) {
	h := &im.header
	stride := h.bitmapSectors*sectorSize + h.extentSize
	room := max(0, im.File.Size()-h.dataOffset) / stride
	if int64(entry) > room {
		return blockdev.Extent{}, im.Corrupt(h.catalogOffset+off/h.extentSize*entryBytes,
			"extent %d is not in the file", entry)
	}
	start := h.dataOffset + int64(entry)*stride
	bitmap := make([]byte, (h.extentSize/sectorSize+7)/8)
	if err := blockdev.ReadPadded(im.File, bitmap, start); err != nil {
		return blockdev.Extent{}, err
	}
	in := off % h.extentSize
	sector := in / sectorSize
	written := bit(bitmap, sector)
	end := sector + 1
	for end*sectorSize < in+n && bit(bitmap, end) == written {
		end++
	}
	e := blockdev.Extent{Kind: blockdev.ExtentZero, Len: min(n, end*sectorSize-in), Allocated: true}
	if written {
		e.Kind, e.Node, e.Host = blockdev.ExtentData, im.File, start+h.bitmapSectors*sectorSize+in
	}
	return e, nil
}

func bit(bitmap []byte, i int64) bool { return bitmap[i/8]>>(i%8)&1 == 1 }
