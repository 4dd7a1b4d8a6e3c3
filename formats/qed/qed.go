package qed

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "qed",
		Probe:         probe,
		CreateOptions: createOptions,
		Open:          blockdev.Opener(Open),
		Create:        Create,
	})
}

// probe knows an image by its magic number.
func probe(head []byte, _ string) int {
	if len(head) >= headerBytes && string(head[:len(magic)]) == magic {
		return 100
	}
	return 0
}

// Image is an opened image: a [blockdev.Node].
type Image struct {
	bat.Overlay
	name  string
	file  blockdev.Node
	table bat.Table

	mu     sync.Mutex // guards the header, in memory and in the file
	header *header
}

var (
	_ blockdev.Node       = (*Image)(nil)
	_ blockdev.ZeroWriter = (*Image)(nil)
	_ blockdev.Discarder  = (*Image)(nil)
	_ blockdev.Backed     = (*Image)(nil)
	_ blockdev.Checker    = (*Image)(nil)
	_ blockdev.Resizer    = (*Image)(nil)
	_ blockdev.Informer   = (*Image)(nil)
	_ blockdev.Reopener   = (*Image)(nil)
)

// Values of entries that are no offsets, section "Data cluster offsets".
const (
	entryUnallocated = 0
	entryZero        = 1
)

// Open opens the image in r.File. A backing file is not opened: attach it with SetBacking.
func Open(ctx context.Context, r blockdev.OpenRequest) (*Image, error) {
	h, err := readHeader(r.File, r.Filename)
	if err != nil {
		return nil, err
	}
	im := &Image{name: r.Filename, file: r.File, header: h}
	im.table = bat.Table{
		Offset: h.l1, Entries: h.entries(), Width: entryBytes, Order: binary.LittleEndian, Lower: h.entries(),
		LowerOffset: im.l2Offset, UpperEntry: func(off int64) uint64 { return uint64(off) },
		Decode: im.decode, Encode: encode,
	}
	im.Overlay = bat.Overlay{Image: bat.New(bat.Config{
		Name: r.Filename, File: r.File, Mode: r.Mode, Size: h.size,
		BlockSize: h.clusterSize, Align: h.clusterSize, End: im.fileEnd(), Zeroes: true,
		Table: im.table, Hooks: bat.Hooks{
			Begin:  func() error { return im.setNeedCheck(true) },
			Finish: func() error { return im.setNeedCheck(false) },
		},
		Events: []blockdev.Event{
			blockdev.EventL1Update, blockdev.EventL2Load, blockdev.EventL2Update, blockdev.EventReadAIO,
			blockdev.EventReadBackingAIO, blockdev.EventWriteAIO, blockdev.EventCOWWrite,
		},
	})}
	im.RefersBacking(h.backing != "")
	if !r.Mode.Writable || r.Mode.Check {
		return im, nil
	}
	return im, im.startWriting(ctx)
}

// fileEnd is where new clusters go: behind the file.
func (im *Image) fileEnd() int64 {
	cs := im.header.clusterSize
	return (im.file.Size() + cs - 1) / cs * cs
}

// startWriting checks an image that was not closed, section "Consistency checking", and
// clears feature bits that we do not know how to keep right.
func (im *Image) startWriting(ctx context.Context) error {
	if im.header.features&featureNeedCheck != 0 {
		_, err := im.Check(ctx, blockdev.CheckOptions{RepairErrors: true, RepairLeaks: true})
		if err != nil {
			return err
		}
	}
	if im.header.autoclear == 0 {
		return nil
	}
	return im.changeHeader(func(h *header) { h.autoclear = 0 })
}

// isPlace tells if the offset e is one that n bytes can have.
func (im *Image) isPlace(e uint64, n int64) bool {
	return e <= blockdev.MaxSize && im.header.isPlace(int64(e), n, im.file.Size())
}

// l2Offset checks an entry of the L1 table.
func (im *Image) l2Offset(e uint64) (int64, error) {
	n := im.header.tableBytes()
	if !im.isPlace(e, n) || im.header.overL1(int64(e), n) {
		return 0, blockdev.Errorf(blockdev.ErrCorrupt, "map", im.name, "Invalid argument: L2 table at offset %#x", e)
	}
	return int64(e), nil
}

// decode tells what an entry of an L2 table means.
func (im *Image) decode(e uint64) (bat.Block, error) {
	n := im.header.clusterSize
	switch {
	case e == entryUnallocated:
		return bat.Block{}, nil
	case e == entryZero:
		return bat.Block{Kind: bat.Zero}, nil
	case !im.isPlace(e, n) || im.header.overL1(int64(e), n):
		return bat.Block{}, blockdev.Errorf(blockdev.ErrCorrupt, "map", im.name, "Invalid argument: cluster at offset %#x", e)
	}
	return bat.Block{Kind: bat.Data, Host: int64(e)}, nil
}

func encode(b bat.Block) uint64 {
	switch b.Kind {
	case bat.Data:
		return uint64(b.Host)
	case bat.Zero:
		return entryZero
	}
	return entryUnallocated
}

// changeHeader changes the header in memory and durably in the file. It fits into a sector
// but for the backing file's name.
func (im *Image) changeHeader(change func(h *header)) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	h := *im.header
	change(&h)
	if _, err := im.file.WriteAt(h.encode(), 0); err != nil {
		return err
	}
	if err := im.file.Flush(); err != nil {
		return err
	}
	im.header.features, im.header.autoclear, im.header.size, im.header.backing = h.features, h.autoclear, h.size, h.backing
	return nil
}

func (im *Image) setNeedCheck(on bool) error {
	return im.changeHeader(func(h *header) {
		h.features &^= featureNeedCheck
		if on {
			h.features |= featureNeedCheck
		}
	})
}

// ReopenWritable switches between read-only and read-write.
func (im *Image) ReopenWritable(writable bool) error {
	if !writable || im.Writable() {
		return im.Image.ReopenWritable(writable)
	}
	im.SetEnd(im.fileEnd(), nil)
	if err := im.Image.ReopenWritable(true); err != nil {
		return err
	}
	return im.startWriting(context.Background())
}

// Resize makes the disk larger. It cannot become smaller, as in QEMU.
func (im *Image) Resize(size int64, o blockdev.ResizeOptions) error {
	if err := im.CheckWritable("resize"); err != nil {
		return err
	}
	switch {
	case o.Preallocation != "" && o.Preallocation != "off":
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", im.name, "Unsupported preallocation mode '%s'", o.Preallocation)
	case size%sectorSize != 0 || size > im.header.maxSize():
		return blockdev.Errorf(blockdev.ErrInvalid, "resize", im.name, "Invalid image size specified")
	case size < im.Size():
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", im.name, "Shrinking images is currently not supported")
	}
	if err := im.changeHeader(func(h *header) { h.size = size }); err != nil {
		return err
	}
	im.SetSize(size)
	return nil
}

// BackingReference is what the header says.
func (im *Image) BackingReference() blockdev.Reference {
	im.mu.Lock()
	defer im.mu.Unlock()
	if im.header.backing == "" {
		return blockdev.Reference{}
	}
	r := blockdev.Reference{Kind: blockdev.RefBacking, Parent: im.name, Name: im.header.backing}
	if im.header.features&featureBackingRaw != 0 {
		r.Format = "raw"
	}
	return r
}

// ChangeBackingReference rewrites the header.
func (im *Image) ChangeBackingReference(name, format string) error {
	if err := im.CheckWritable("write"); err != nil {
		return err
	}
	if len(name) > maxBackingName || headerBytes+int64(len(name)) > im.header.dataStart() {
		return blockdev.Errorf(blockdev.ErrLimit, "write", im.name, "Backing file name too long")
	}
	if err := im.changeHeader(func(h *header) { h.setBacking(name, format) }); err != nil {
		return err
	}
	im.RefersBacking(name != "")
	return nil
}

// Info tells of the flag that asks for a check.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	return blockdev.ImageInfo{ClusterSize: im.header.clusterSize, DirtyFlag: im.header.features&featureNeedCheck != 0}, nil
}
