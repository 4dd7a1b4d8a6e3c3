package vdi

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "vdi",
		Probe:         probe,
		CreateOptions: createOptions,
		Open:          Open,
		Create:        Create,
	})
}

// probe knows an image by its signature.
func probe(head []byte, _ string) int {
	if len(head) >= headerBytes && binary.LittleEndian.Uint32(head[offSignature:]) == signature {
		return 100
	}
	return 0
}

// Image is an opened image: a [blockdev.Node].
type Image struct {
	*bat.Image
	name   string
	file   blockdev.Node
	header *header
	table  bat.Table

	mu       sync.Mutex
	touched  bool // since the image was opened
	modified uuid // the identifier of the last change
}

var (
	_ blockdev.Node       = (*Image)(nil)
	_ blockdev.ZeroWriter = (*Image)(nil)
	_ blockdev.Discarder  = (*Image)(nil)
	_ blockdev.Checker    = (*Image)(nil)
	_ blockdev.Informer   = (*Image)(nil)
	_ blockdev.Reopener   = (*Image)(nil)
)

// Open opens the image in r.File. A differencing one is only read; what is below it is not
// opened: attach it with SetBacking.
func Open(ctx context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	h, err := readHeader(r.File, r.Filename, r.Mode.NoIO)
	if err != nil {
		return nil, err
	}
	im := &Image{name: r.Filename, file: r.File, header: h, modified: h.modified}
	im.table = bat.Table{
		Offset: h.mapOffset, Entries: h.blocks, Width: mapEntryBytes, Order: binary.LittleEndian,
		Decode: im.decode, Encode: im.encode,
	}
	c := bat.Config{
		Name: r.Filename, File: r.File, Mode: r.Mode, Size: h.size,
		BlockSize: blockSize, Base: h.data, Align: blockSize, End: h.data, Limit: h.data + h.blocks*blockSize, Zeroes: true, Fixed: h.kind == imageStatic,
		Table: im.table, Hooks: bat.Hooks{
			Begin: im.touch, Overwrite: func(int64) error { return im.touch() }, Grow: im.count, IsParent: im.isParent,
		},
	}
	if h.kind == imageDiff {
		return openDifferencing(im, c)
	}
	if r.Mode.Writable {
		if c.End, c.Holes, err = im.room(ctx); err != nil {
			return nil, err
		}
	}
	im.Image = bat.New(c)
	return im, nil
}

// decode tells what an entry of the map means.
func (im *Image) decode(e uint64) (bat.Block, error) {
	switch {
	case e == entryUnused && im.header.link != uuid{}:
		return bat.Block{}, nil
	case e >= entryDiscarded:
		return bat.Block{Kind: bat.Zero}, nil
	case e >= uint64(im.header.blocks):
		return bat.Block{}, blockdev.Errorf(blockdev.ErrCorrupt, "map", im.name, "block %d of an image of %d", e, im.header.blocks)
	}
	return bat.Block{Kind: bat.Data, Host: im.header.data + int64(e)*blockSize}, nil
}

func (im *Image) encode(b bat.Block) uint64 {
	if b.Kind == bat.Data {
		return uint64((b.Host - im.header.data) / blockSize)
	}
	return entryUnused
}

// room tells where the last block in the map ends, and which before it are not there. After
// a crash there may be such, and since a block's number is less than what the map has room
// for, they cannot just be left alone.
func (im *Image) room(ctx context.Context) (end int64, holes []bat.Hole, err error) {
	used := bat.NewSet(im.header.blocks)
	count := int64(0)
	err = im.table.Scan(ctx, im.file, func(_ int64, e uint64) error {
		if e < uint64(im.header.blocks) {
			used.Add(int64(e))
			count = max(count, int64(e)+1)
		}
		return nil
	})
	for i := count - 1; i >= 0; i-- {
		if !used.Has(i) {
			holes = append(holes, bat.Hole{Host: im.header.data + i*blockSize, Count: 1})
		}
	}
	return im.header.data + count*blockSize, holes, err
}

// touch gives the image the identifier of a change before it is changed for the first time,
// durably, so that images over it notice.
func (im *Image) touch() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.touched {
		return nil
	}
	id := newUUID()
	if _, err := im.file.WriteAt(id[:], offModifyUUID); err != nil {
		return err
	}
	im.modified = id
	im.touched = true
	return im.file.Flush()
}

// lastChange is the identifier of the last change.
func (im *Image) lastChange() uuid {
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.modified
}

// count notes in the header how many blocks there are.
func (im *Image) count(end int64) error {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], uint32((end-im.header.data)/blockSize))
	_, err := im.file.WriteAt(b[:], offAllocated)
	return err
}

// ReopenWritable switches between read-only and read-write.
func (im *Image) ReopenWritable(writable bool) error {
	if writable && !im.Writable() {
		end, holes, err := im.room(context.Background())
		if err != nil {
			return err
		}
		im.SetEnd(end, holes)
	}
	return im.Image.ReopenWritable(writable)
}

// Info has nothing that other formats have not.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	return blockdev.ImageInfo{ClusterSize: blockSize}, nil
}
