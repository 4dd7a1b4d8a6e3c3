package parallels

import (
	"context"
	"encoding/binary"
	"math"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "parallels",
		Probe:         probe,
		CreateOptions: createOptions,
		Open:          openNode,
		Create:        Create,
	})
}

// probe knows an image by its magic number and version.
func probe(head []byte, _ string) int {
	if len(head) >= headerBytes && isMagic(head) && binary.LittleEndian.Uint32(head[offVersion:]) == version2 {
		return 100
	}
	return 0
}

// Image is an opened image: a [blockdev.Node].
type Image struct {
	bat.Overlay
	name   string
	file   blockdev.Node
	header *header
	table  bat.Table
}

var (
	_ blockdev.Node       = (*Image)(nil)
	_ blockdev.ZeroWriter = (*Image)(nil)
	_ blockdev.Discarder  = (*Image)(nil)
	_ blockdev.Backed     = (*Image)(nil)
	_ blockdev.Checker    = (*Image)(nil)
	_ blockdev.Reopener   = (*Image)(nil)
)

// Open opens the image in r.File. With [blockdev.Mode.Check] one that was not closed opens
// for writing too, so that it can be repaired.
func Open(ctx context.Context, r blockdev.OpenRequest) (*Image, error) {
	h, err := readHeader(r.File, r.Filename)
	if err != nil {
		return nil, err
	}
	im := &Image{name: r.Filename, file: r.File, header: h}
	im.table = bat.Table{
		Offset: headerBytes, Entries: h.entries, Width: entryBytes, Order: binary.LittleEndian,
		Decode: im.decode, Encode: im.encode,
	}
	c := bat.Config{
		Name: r.Filename, File: r.File, Mode: r.Mode, Size: h.size, BlockSize: h.clusterSize,
		Base: im.base(), Align: h.clusterSize, End: h.data, Limit: h.limit(), Table: im.table,
		Hooks: bat.Hooks{Begin: im.begin, Finish: func() error { return im.setInUse(notInUse) }},
	}
	if r.Mode.Writable {
		if c.End, err = im.end(ctx); err != nil {
			return nil, err
		}
	}
	im.Overlay = bat.Overlay{Image: bat.New(c)}
	if !r.Mode.Writable || r.Mode.Check {
		return im, nil
	}
	return im, im.startWriting()
}

// BackingReference is none: the format cannot name a backing file. One can be given when the
// image is opened, as in QEMU.
func (im *Image) BackingReference() blockdev.Reference { return blockdev.Reference{} }

// ChangeBackingReference is not possible.
func (im *Image) ChangeBackingReference(string, string) error {
	return blockdev.Errorf(blockdev.ErrNotSupported, "write", im.name, "Operation not supported")
}

// openNode opens an image for the graph.
func openNode(ctx context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	im, err := Open(ctx, r)
	if err != nil {
		return nil, err
	}
	if im.header.extension == 0 {
		return im, nil
	}
	return withBitmaps{im}, nil
}

// base is what the places of clusters are counted from: in sectors they may begin anywhere,
// and are a multiple of clusters behind the first.
func (im *Image) base() int64 {
	if im.header.unit == im.header.clusterSize {
		return 0
	}
	return im.header.data
}

// startWriting marks the image as in use, which it must not be yet.
func (im *Image) startWriting() error {
	switch {
	case im.header.inUse:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, "parallels: Image was not closed correctly; cannot be opened read/write")
	case im.header.extension != 0:
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", im.name, "parallels images with a format extension can only be read")
	}
	return im.Begin()
}

// begin is called before the first change.
func (im *Image) begin() error {
	if im.header.flags&flagEmpty != 0 {
		var b [4]byte
		im.header.flags &^= flagEmpty
		binary.LittleEndian.PutUint32(b[:], im.header.flags)
		if _, err := im.file.WriteAt(b[:], offFlags); err != nil {
			return err
		}
	}
	return im.setInUse(inUse)
}

// setInUse stores the field of that name, durably.
func (im *Image) setInUse(v uint32) error {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	if _, err := im.file.WriteAt(b[:], offInUse); err != nil {
		return err
	}
	return im.file.Flush()
}

// decode tells what an entry means.
func (im *Image) decode(e uint64) (bat.Block, error) {
	if e == 0 {
		return bat.Block{}, nil
	}
	// 32 bits, times less than 2 GiB.
	at := int64(e) * im.header.unit
	if at < im.header.firstCluster() {
		return bat.Block{}, blockdev.ErrorAt(blockdev.ErrCorrupt, "map", im.name, at, "a cluster lies over the table")
	}
	if at > blockdev.MaxSize-im.header.clusterSize {
		return bat.Block{}, blockdev.ErrorAt(blockdev.ErrCorrupt, "map", im.name, at, "a cluster is outside of every file")
	}
	return bat.Block{Kind: bat.Data, Host: at}, nil
}

// firstCluster is the end of the table.
func (h *header) firstCluster() int64 { return headerBytes + h.entries*entryBytes }

func (im *Image) encode(b bat.Block) uint64 {
	if b.Kind == bat.Data {
		return uint64(b.Host / im.header.unit)
	}
	return 0
}

// limit is what entries of 32 bits reach.
func (h *header) limit() int64 {
	return min(math.MaxUint32*h.unit, blockdev.MaxSize-h.clusterSize) + h.clusterSize
}

// end is where the last cluster ends. One that is not in the file counts, as in QEMU: a new
// one in its place would be two parts of the disk at once.
func (im *Image) end(ctx context.Context) (int64, error) {
	end := im.header.data
	err := im.table.Scan(ctx, im.file, func(_ int64, e uint64) error {
		if b, err := im.decode(e); err == nil && b.Kind == bat.Data {
			end = max(end, b.Host+im.header.clusterSize)
		}
		return nil
	})
	return end, err
}

// ReopenWritable switches between read-only and read-write.
func (im *Image) ReopenWritable(writable bool) error {
	if !writable || im.Writable() {
		return im.Image.ReopenWritable(writable)
	}
	end, err := im.end(context.Background())
	if err != nil {
		return err
	}
	im.SetEnd(end, nil)
	if err := im.startWriting(); err != nil {
		return err
	}
	return im.Image.ReopenWritable(true)
}

// WriteAt refuses what was not closed and is not repaired yet.
func (im *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := im.checkClosed(); err != nil {
		return 0, err
	}
	return im.Image.WriteAt(p, off)
}

// WriteZeroes does, too.
func (im *Image) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if err := im.checkClosed(); err != nil {
		return err
	}
	return im.Image.WriteZeroes(off, n, flags)
}

func (im *Image) checkClosed() error {
	if im.header.inUse {
		return blockdev.Errorf(blockdev.ErrCorrupt, "write", im.name, "parallels: Image was not closed correctly")
	}
	return nil
}
