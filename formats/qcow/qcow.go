package qcow

import (
	"context"
	"encoding/binary"
	"io"
	"sync"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
	"github.com/qmon/qmon/formats/internal/inflate"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "qcow",
		Probe:         probe,
		OpenOptions:   openOptions,
		CreateOptions: createOptions,
		Open:          blockdev.Opener(Open),
		Create:        Create,
	})
}

// probe knows an image by its magic number and version.
func probe(head []byte, _ string) int {
	if len(head) >= headerBytes && string(head[:len(magic)]) == magic && binary.BigEndian.Uint32(head[offVersion:]) == version1 {
		return 100
	}
	return 0
}

// Image is an opened image: a [blockdev.Node].
type Image struct {
	bat.Overlay
	name      string
	file      blockdev.Node
	header    *header
	deflaters sync.Pool // of *flate.Writer
}

var (
	_ blockdev.Node             = (*Image)(nil)
	_ blockdev.ZeroWriter       = (*Image)(nil)
	_ blockdev.Discarder        = (*Image)(nil)
	_ blockdev.Backed           = (*Image)(nil)
	_ blockdev.OpaqueReader     = (*Image)(nil)
	_ blockdev.CompressedWriter = (*Image)(nil)
	_ blockdev.Emptier          = (*Image)(nil)
	_ blockdev.Informer         = (*Image)(nil)
	_ blockdev.Reopener         = (*Image)(nil)
)

// entryCompressed marks the entry of a compressed cluster.
const entryCompressed = 1 << 63

// Open opens the image in r.File. A backing file is not opened: attach it with SetBacking.
func Open(_ context.Context, r blockdev.OpenRequest) (*Image, error) {
	h, err := readHeader(r.File, r.Filename)
	if err != nil {
		return nil, err
	}
	cipher, err := openCipher(h, r)
	if err != nil {
		return nil, err
	}
	im := &Image{name: r.Filename, file: r.File, header: h}
	im.Overlay = bat.Overlay{Image: bat.New(bat.Config{
		Cipher: cipher,
		Name:   r.Filename, File: r.File, Mode: r.Mode, Size: h.size,
		BlockSize: h.clusterSize(), Align: h.clusterSize(), End: r.File.Size(),
		Table: bat.Table{
			Offset: h.l1, Entries: h.l1Entries(), Width: entryBytes, Order: binary.BigEndian, Lower: 1 << h.l2Bits,
			LowerOffset: im.l2Offset, UpperEntry: func(off int64) uint64 { return uint64(off) },
			Decode: im.decode, Encode: im.encode,
		},
		Hooks: bat.Hooks{Unpack: im.unpack},
		Events: []blockdev.Event{
			blockdev.EventL1Update, blockdev.EventL2Load, blockdev.EventL2Update, blockdev.EventL2UpdateCompressed,
			blockdev.EventReadAIO, blockdev.EventReadBackingAIO, blockdev.EventReadCompressed, blockdev.EventWriteAIO,
			blockdev.EventWriteCompressed, blockdev.EventClusterAlloc,
		},
	})}
	im.RefersBacking(h.backing != "")
	return im, nil
}

// l2Offset checks an entry of the L1 table.
func (im *Image) l2Offset(e uint64) (int64, error) {
	n := int64(entryBytes) << im.header.l2Bits
	if off := int64(e); e <= blockdev.MaxSize && off >= im.header.dataStart() && off <= im.file.Size()-n {
		return off, nil
	}
	return 0, blockdev.Errorf(blockdev.ErrCorrupt, "map", im.name, "an L2 table at offset %#x", e)
}

// decode tells what an entry of an L2 table means.
func (im *Image) decode(e uint64) (bat.Block, error) {
	b := bat.Block{}
	switch shift := 63 - im.header.clusterBits; {
	case e == 0:
		return b, nil
	case e&entryCompressed != 0:
		b = bat.Block{Kind: bat.Compressed, Host: int64(e & (1<<shift - 1)), Len: int64(e&^entryCompressed) >> shift}
	default:
		b = bat.Block{Kind: bat.Data, Host: int64(e)}
	}
	if b.Host < im.header.dataStart() || b.Host > blockdev.MaxSize-im.header.clusterSize() {
		return bat.Block{}, blockdev.Errorf(blockdev.ErrCorrupt, "map", im.name, "a cluster at offset %#x", b.Host)
	}
	return b, nil
}

func (im *Image) encode(b bat.Block) uint64 {
	switch b.Kind {
	case bat.Data:
		return uint64(b.Host)
	case bat.Compressed:
		return entryCompressed | uint64(b.Len)<<(63-im.header.clusterBits) | uint64(b.Host)
	}
	return 0
}

// MakeEmpty forgets all clusters: the L1 table is cleared, then the file cut off behind it.
// Nobody else uses the image meanwhile.
func (im *Image) MakeEmpty() error {
	if err := im.CheckWritable("write"); err != nil {
		return err
	}
	return im.Exclusive(func() error {
		end := im.header.dataStart()
		if err := blockdev.WriteZeroBytes(im.file, im.header.l1, end-im.header.l1); err != nil {
			return err
		}
		if err := im.file.Flush(); err != nil {
			return err
		}
		im.Reload()
		if err := blockdev.Resize(im.file, end, blockdev.ResizeOptions{Shrink: true}); err != nil {
			return err
		}
		im.SetEnd(end, nil)
		return nil
	})
}

// unpack reads a compressed cluster: deflate without a header.
func (im *Image) unpack(b bat.Block, out []byte) error {
	packed := make([]byte, min(b.Len, max(0, im.file.Size()-b.Host)))
	if len(packed) > 0 {
		if _, err := im.file.ReadAt(packed, b.Host); err != nil {
			return err
		}
	}
	n, _, err := inflate.Raw(out, packed)
	if n < len(out) && err == nil {
		err = io.ErrUnexpectedEOF
	}
	if n < len(out) {
		return &blockdev.Error{Kind: blockdev.ErrCorrupt, Op: "read", File: im.name, Offset: b.Host,
			Text: "a compressed cluster cannot be unpacked", Err: err}
	}
	return nil
}

// ReopenWritable switches between read-only and read-write.
func (im *Image) ReopenWritable(writable bool) error {
	if writable && !im.Writable() {
		im.SetEnd(im.file.Size(), nil)
	}
	return im.Image.ReopenWritable(writable)
}

// BackingReference is what the header says.
func (im *Image) BackingReference() blockdev.Reference {
	if im.header.backing == "" {
		return blockdev.Reference{}
	}
	return blockdev.Reference{Kind: blockdev.RefBacking, Parent: im.name, Name: im.header.backing}
}

// ChangeBackingReference is not possible: the name lies before the L1 table. The same as in
// QEMU.
func (im *Image) ChangeBackingReference(string, string) error {
	return blockdev.Errorf(blockdev.ErrNotSupported, "write", im.name, "Operation not supported")
}

// Info tells what the header says.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	return blockdev.ImageInfo{ClusterSize: im.header.clusterSize(), Encrypted: im.header.crypt != cryptNone}, nil
}
