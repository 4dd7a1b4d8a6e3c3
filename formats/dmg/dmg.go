// Package dmg reads Apple's compressed disk images (UDIF).
//
//	0                                                     size-512
//	| chunk | chunk | ...    | property list, in XML,    | trailer |
//	                  ^      | or resource fork          |    |
//	                  |      ^      |                         |
//	                  |      +------|-------------------------+
//	                  +-------------+ block tables
//
// The trailer ("koly") says where the property list, or in old images the resource fork,
// is. That has a block table ("mish") for each partition of the disk, and the table has for
// each run of sectors the chunk that holds it: how it is packed, where, and how long it is.
// Numbers are big-endian.
//
// The layout is that of "Demystifying the DMG file format" (newosxbook.com/DMG.html) and
// of the Universal Disk Image Format page of keramics.
package dmg

import (
	"context"
	"sort"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/readonly"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:  "dmg",
		Probe: probe,
		Open:  blockdev.Opener(Open),
	})
}

// probe goes by the name, as QEMU does: what tells an image is at its end.
func probe(_ []byte, filename string) int {
	if strings.HasSuffix(filename, ".dmg") {
		return 2
	}
	return 0
}

// Image is an opened image: a [blockdev.Node].
type Image struct {
	readonly.Image
	chunks []chunk // by sector
	cache  readonly.Blocks
}

var (
	_ blockdev.Node         = (*Image)(nil)
	_ blockdev.OpaqueReader = (*Image)(nil)
	_ blockdev.Informer     = (*Image)(nil)
)

// Open opens the image in r.File, read-only.
func Open(_ context.Context, r blockdev.OpenRequest) (*Image, error) {
	if err := readonly.CheckMode(r); err != nil {
		return nil, err
	}
	t, err := readTrailer(r.File, r.Filename)
	if err != nil {
		return nil, err
	}
	p := parser{file: r.File, name: r.Filename, base: t.dataFork}
	if err := p.parse(t); err != nil {
		return nil, err
	}
	sort.Slice(p.chunks, func(i, j int) bool { return p.chunks[i].start < p.chunks[j].start })
	size := int64(0)
	for _, c := range p.chunks {
		if c.start < size {
			return nil, p.corrupt("sector %d is in two chunks", c.start/sectorSize)
		}
		size = c.start + c.size
	}
	return &Image{Image: readonly.New(r, size), chunks: p.chunks}, nil
}

// Map tells what is packed from what is not.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := im.CheckRange("map", off, n); err != nil || n == 0 {
		return blockdev.Extent{}, err
	}
	c, err := im.find(off)
	if err != nil {
		return blockdev.Extent{}, err
	}
	e := blockdev.Extent{Len: min(n, c.start+c.size-off)}
	switch c.kind {
	case kindZero, kindIgnore:
		e.Kind = blockdev.ExtentZero
	case kindRaw:
		e.Kind, e.Node, e.Host = blockdev.ExtentData, im.File, c.host+off-c.start
	default:
		e.Kind, e.Compressed = blockdev.ExtentOpaque, true
	}
	return e, nil
}

// find is the chunk with the byte at off.
func (im *Image) find(off int64) (*chunk, error) {
	i := sort.Search(len(im.chunks), func(i int) bool { return im.chunks[i].start > off })
	if i > 0 && off < im.chunks[i-1].start+im.chunks[i-1].size {
		return &im.chunks[i-1], nil
	}
	return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "map", im.Name, blockdev.NoOffset, "sector %d is in no chunk", off/sectorSize)
}

// ReadAt reads guest bytes.
func (im *Image) ReadAt(p []byte, off int64) (int, error) { return blockdev.Read(im, p, off) }

// ReadOpaque reads from a packed chunk.
func (im *Image) ReadOpaque(p []byte, off int64) error {
	if err := im.CheckRange("read", off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		c, err := im.find(off)
		if err != nil {
			return err
		}
		k := min(int64(len(p)), c.start+c.size-off)
		err = im.cache.Read(p[:k], c.start, c.size, off-c.start, func(out []byte) error { return im.unpack(out, c) })
		if err != nil {
			return err
		}
		p, off = p[k:], off+k
	}
	return nil
}

// unpack reads and unpacks a whole chunk.
func (im *Image) unpack(out []byte, c *chunk) error {
	decode, ok := decoders[c.kind]
	if !ok {
		return blockdev.ErrorAt(blockdev.ErrNotSupported, "read", im.Name, c.host, "chunks of %s are not supported", c.kind)
	}
	if c.host > im.File.Size()-c.length {
		return im.Corrupt(c.host, "chunk of sector %d is not in the file", c.start/sectorSize)
	}
	packed := make([]byte, c.length)
	if _, err := im.File.ReadAt(packed, c.host); err != nil {
		return err
	}
	if err := decode(out, packed); err != nil {
		return &blockdev.Error{Kind: blockdev.ErrCorrupt, Op: "read", File: im.Name, Offset: c.host,
			Text: "chunk of " + c.kind.String() + " cannot be decompressed", Err: err}
	}
	return nil
}
