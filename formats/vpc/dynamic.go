package vpc

import (
	"context"
	"encoding/binary"
	"sync"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
)

// Offsets of the dynamic header's fields, "Dynamic Disk Header Format".
const (
	offTableOffset    = 16
	offHeaderVersion  = 24
	offEntries        = 28
	offBlockSize      = 32
	offHeaderChecksum = 36
	offParentUUID     = 40
	offParentName     = 64 // UTF-16
	parentNameBytes   = 512
	offLocators       = 576
	headerBytes       = 1024
	headerCookie      = "cxsparse"
	defaultBlockSize  = 2 << 20
	entryBytes        = 4
	entryUnused       = 0xffffffff
)

const (
	// maxEntries keeps the table below 2 GiB, as QEMU does. Nothing of that size is
	// allocated here.
	maxEntries = 1<<29 - 1
	// maxBlockSize bounds a block's bitmap, which is read as a whole, to 128 KiB.
	maxBlockSize = 512 << 20
)

// dynamicHeader is what it says, checked.
type dynamicHeader struct {
	raw       [headerBytes]byte
	table     int64
	entries   int64
	blockSize int64
}

func readDynamicHeader(file blockdev.Node, f *footer, size int64, name string) (*dynamicHeader, error) {
	refuse := func(kind error, format string, args ...any) (*dynamicHeader, error) {
		return nil, blockdev.Errorf(kind, "open", name, format, args...)
	}
	h := &dynamicHeader{}
	if whole := (file.Size() + sectorSize - 1) / sectorSize * sectorSize; f.data > uint64(max(0, whole-headerBytes)) {
		return refuse(blockdev.ErrCorrupt, "Invalid header magic")
	}
	inFile := h.raw[:min(headerBytes, max(0, file.Size()-int64(f.data)))] // its last sector may be cut
	if _, err := file.ReadAt(inFile, int64(f.data)); err != nil {
		return nil, err
	}
	be := binary.BigEndian
	table, blockSize := be.Uint64(h.raw[offTableOffset:]), be.Uint32(h.raw[offBlockSize:])
	h.entries, h.blockSize = int64(be.Uint32(h.raw[offEntries:])), int64(blockSize)
	h.table = int64(table)
	tableEnd := h.table + h.entries*entryBytes
	switch {
	case string(h.raw[:len(headerCookie)]) != headerCookie:
		return refuse(blockdev.ErrCorrupt, "Invalid header magic")
	case blockSize < sectorSize || blockSize&(blockSize-1) != 0:
		return refuse(blockdev.ErrCorrupt, "Invalid block size %d", blockSize)
	case blockSize > maxBlockSize:
		return refuse(blockdev.ErrLimit, "blocks of %d bytes are larger than %d", blockSize, maxBlockSize)
	case h.entries > maxEntries:
		return refuse(blockdev.ErrLimit, "Max Table Entries too large (%d)", int32(h.entries))
	case h.entries*h.blockSize < size:
		return refuse(blockdev.ErrCorrupt, "Page table too small")
	case table > uint64(file.Size()) || tableEnd > file.Size():
		return refuse(blockdev.ErrCorrupt, truncated)
	case h.table < int64(f.data)+headerBytes:
		return refuse(blockdev.ErrCorrupt, "the block allocation table, at 0x%x, lies over the header", h.table)
	}
	return h, nil
}

// maxFile is what the entries of a table reach.
const maxFile = entryUnused * sectorSize

const truncated = "block-vpc: free_data_block_offset points after the end of file. The image has been truncated."

// bitmapBytes is the size of a block's bitmap: whole sectors.
func (h *dynamicHeader) bitmapBytes() int64 {
	return (h.blockSize/sectorSize/8 + sectorSize - 1) / sectorSize * sectorSize
}

// tableEnd is where the first block may be.
func (h *dynamicHeader) tableEnd() int64 {
	return (h.table + h.entries*entryBytes + sectorSize - 1) / sectorSize * sectorSize
}

// Image is an opened dynamic image: a [blockdev.Node].
type Image struct {
	*bat.Image
	name   string
	file   blockdev.Node
	footer *footer
	header *dynamicHeader
	table  bat.Table

	mu     sync.Mutex
	marked map[int64]struct{} // blocks, by place, whose bitmap is known to be full
}

var (
	_ blockdev.Node       = (*Image)(nil)
	_ blockdev.ZeroWriter = (*Image)(nil)
	_ blockdev.Discarder  = (*Image)(nil)
	_ blockdev.Informer   = (*Image)(nil)
	_ blockdev.Reopener   = (*Image)(nil)
)

// openDynamic opens an image with a table of blocks.
func openDynamic(ctx context.Context, r blockdev.OpenRequest, f *footer, size int64) (*Image, error) {
	h, err := readDynamicHeader(r.File, f, size, r.Filename)
	if err != nil {
		return nil, err
	}
	im := &Image{name: r.Filename, file: r.File, footer: f, header: h, marked: map[int64]struct{}{}}
	im.table = bat.Table{
		Offset: h.table, Entries: h.entries, Width: entryBytes, Order: binary.BigEndian,
		Decode: im.decode, Encode: im.encode,
	}
	end, err := im.end(ctx)
	if err != nil {
		return nil, err
	}
	im.Image = bat.New(bat.Config{
		Name: r.Filename, File: r.File, Mode: r.Mode, Size: size,
		BlockSize: h.blockSize, Prefix: h.bitmapBytes(), Align: sectorSize,
		End: end, Limit: maxFile, Trailer: footerBytes, Zeroes: true, Table: im.table,
		Hooks: bat.Hooks{Prefix: fillBitmap, Overwrite: im.markBlock, Grow: im.moveFooter, IsParent: im.isParent},
	})
	return im, nil
}

// decode tells what an entry means: the sector where the block's bitmap begins.
func (im *Image) decode(e uint64) (bat.Block, error) {
	if e == entryUnused {
		return bat.Block{Kind: im.unused()}, nil
	}
	at := int64(e) * sectorSize
	if at < im.header.tableEnd() {
		return bat.Block{}, blockdev.ErrorAt(blockdev.ErrCorrupt, "map", im.name, at, "a block lies over the header or the table")
	}
	return bat.Block{Kind: bat.Data, Host: at + im.header.bitmapBytes()}, nil
}

// unused is what blocks without a place are.
func (im *Image) unused() bat.Kind {
	if im.footer.kind == typeDifferencing {
		return bat.Unallocated
	}
	return bat.Zero
}

func (im *Image) encode(b bat.Block) uint64 {
	if b.Kind == bat.Data {
		return uint64((b.Host - im.header.bitmapBytes()) / sectorSize)
	}
	return entryUnused
}

// end is where the last block ends: the footer's place.
func (im *Image) end(ctx context.Context) (int64, error) {
	end := im.header.tableEnd()
	err := im.table.Scan(ctx, im.file, func(_ int64, e uint64) error {
		if e != entryUnused {
			end = max(end, int64(e)*sectorSize+im.header.bitmapBytes()+im.header.blockSize)
		}
		return nil
	})
	if err == nil && end > im.file.Size() {
		return 0, blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, truncated)
	}
	return end, err
}

func fillBitmap(p []byte) {
	for i := range p {
		p[i] = 0xff
	}
}

// markBlock sets all bits of a block that is written: who reads by them must not miss what
// is new.
func (im *Image) markBlock(host int64) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	if _, ok := im.marked[host]; ok {
		return nil
	}
	bitmap := make([]byte, im.header.bitmapBytes())
	fillBitmap(bitmap)
	if _, err := im.file.WriteAt(bitmap, host-int64(len(bitmap))); err != nil {
		return err
	}
	im.marked[host] = struct{}{}
	return nil
}

// moveFooter writes the footer behind the last block.
func (im *Image) moveFooter(end int64) error {
	_, err := im.file.WriteAt(im.footer.raw[:], end)
	return err
}

// Info has nothing that other formats have not.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	return blockdev.ImageInfo{ClusterSize: im.header.blockSize}, nil
}
