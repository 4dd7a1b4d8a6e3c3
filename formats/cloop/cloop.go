// Package cloop reads the images of the compressed loop device, version 2.0, as the first
// Knoppix CDs had them.
//
//	0        128  132     136
//	| script | bs | n     | offset 0 | ... | offset n | block 0 | block 1 | ...
//	                          |                 |     ^         ^
//	                          +-----------------------+         |
//	                                            +-- the end of the last block
//
// A shell script that mounts the image is followed by the block size and the number of
// blocks, 4 bytes each, and n+1 offsets of 8 bytes, all big-endian. A block is a zlib
// stream, between its offset and the next.
//
// The layout is that of create_compressed_fs's manual and output.
package cloop

import (
	"context"
	"encoding/binary"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/readonly"
)

// magic is the script, which is the same in all images.
const magic = "#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0 && mount -r -t iso9660 /dev/cloop $1\n"

const (
	offBlockSize = 128
	offBlocks    = 132
	offTable     = 136
	offsetBytes  = 8
	sectorSize   = 512

	// maxBlockSize bounds what is unpacked at once; the same as QEMU's. The tools' default
	// is 64 KiB.
	maxBlockSize = 64 << 20
	// maxPacked is the most that a block takes in the file, as QEMU has it: data that
	// cannot be compressed grows a little, never to twice its size.
	maxPacked = 2 * maxBlockSize
	// maxBlocks and maxTable are QEMU's. The table is not held in memory here.
	maxBlocks = 0xffffffff / offsetBytes
	maxTable  = 512 << 20
	// tableBuffer is how much of the table is read at once.
	tableBuffer = 64 << 10
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:  "cloop",
		Probe: probe,
		Open:  blockdev.Opener(Open),
	})
}

// probe knows an image by its script. It is only a little surer than raw is, as in QEMU.
func probe(head []byte, _ string) int {
	if len(head) > 0 && strings.HasPrefix(magic, string(head[:min(len(head), len(magic))])) {
		return 2
	}
	return 0
}

// Image is an opened image: a [blockdev.Node].
type Image struct {
	readonly.Image
	blockSize int64
	blocks    int64
	cache     readonly.Blocks
}

var (
	_ blockdev.Node         = (*Image)(nil)
	_ blockdev.OpaqueReader = (*Image)(nil)
)

// Open opens the image in r.File, read-only.
func Open(ctx context.Context, r blockdev.OpenRequest) (*Image, error) {
	if err := readonly.CheckMode(r); err != nil {
		return nil, err
	}
	var head [offTable]byte
	if err := blockdev.ReadPadded(r.File, head[:], 0); err != nil {
		return nil, err
	}
	im := &Image{
		blockSize: int64(binary.BigEndian.Uint32(head[offBlockSize:])),
		blocks:    int64(binary.BigEndian.Uint32(head[offBlocks:])),
	}
	im.Image = readonly.New(r, im.blocks*im.blockSize)
	if err := im.checkHeader(); err != nil {
		return nil, err
	}
	return im, im.checkTable(ctx)
}

// checkHeader has QEMU's rules in QEMU's order.
func (im *Image) checkHeader() error {
	refuse := func(kind error, format string, args ...any) error {
		return blockdev.Errorf(kind, "open", im.Name, format, args...)
	}
	switch {
	case im.blockSize == 0:
		return refuse(blockdev.ErrCorrupt, "block_size cannot be zero")
	case im.blockSize%sectorSize != 0:
		return refuse(blockdev.ErrCorrupt, "block_size %d must be a multiple of %d", im.blockSize, sectorSize)
	case im.blockSize > maxBlockSize:
		return refuse(blockdev.ErrLimit, "block_size %d must be %d MB or less", im.blockSize, maxBlockSize>>20)
	case im.blocks > maxBlocks:
		return refuse(blockdev.ErrLimit, "n_blocks %d must be %d or less", im.blocks, int64(maxBlocks))
	case (im.blocks+1)*offsetBytes > maxTable:
		return refuse(blockdev.ErrLimit, "image requires too many offsets, try increasing block size")
	}
	return nil
}

// checkTable refuses offsets that go back, and blocks that are too large.
func (im *Image) checkTable(ctx context.Context) error {
	const entries = tableBuffer / offsetBytes
	for first := int64(0); first < im.blocks; first += entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		table, err := im.offsets(first, min(entries, im.blocks-first))
		if err != nil {
			return err
		}
		for i := 1; i < len(table); i++ {
			n := first + int64(i)
			if table[i] < table[i-1] {
				return im.corruptTable(n, "offsets not monotonically increasing at index %d, image file is corrupt")
			}
			if table[i]-table[i-1] > maxPacked {
				return im.corruptTable(n, "invalid compressed block size at index %d, image file is corrupt")
			}
		}
	}
	return nil
}

func (im *Image) corruptTable(n int64, format string) error {
	return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", im.Name, offTable+n*offsetBytes, format, n)
}

// offsets are those of n blocks from first on, and where the last one ends.
func (im *Image) offsets(first, n int64) ([]uint64, error) {
	b := make([]byte, (n+1)*offsetBytes)
	if err := blockdev.ReadPadded(im.File, b, offTable+first*offsetBytes); err != nil {
		return nil, err
	}
	table := make([]uint64, n+1)
	for i := range table {
		table[i] = binary.BigEndian.Uint64(b[i*offsetBytes:])
	}
	return table, nil
}

// Map says of all bytes that they are compressed.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := im.CheckRange("map", off, n); err != nil {
		return blockdev.Extent{}, err
	}
	return blockdev.Extent{Kind: blockdev.ExtentOpaque, Len: n, Compressed: true}, nil
}

// ReadAt reads guest bytes.
func (im *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := im.ReadOpaque(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadOpaque reads guest bytes, block by block.
func (im *Image) ReadOpaque(p []byte, off int64) error {
	if err := im.CheckRange("read", off, int64(len(p))); err != nil {
		return err
	}
	for len(p) > 0 {
		first := off / im.blockSize
		last := (off + int64(len(p)) - 1) / im.blockSize
		table, err := im.offsets(first, min(last-first+1, tableBuffer/offsetBytes))
		if err != nil {
			return err
		}
		for i := range len(table) - 1 {
			number, in := first+int64(i), off%im.blockSize
			k := min(int64(len(p)), im.blockSize-in)
			err := im.cache.Read(p[:k], number, im.blockSize, in, func(out []byte) error {
				return im.unpack(out, number, table[i], table[i+1])
			})
			if err != nil {
				return err
			}
			p, off = p[k:], off+k
		}
	}
	return nil
}

// unpack reads and unpacks the block that lies in [start, end). The image may have changed
// since the table was checked.
func (im *Image) unpack(out []byte, number int64, start, end uint64) error {
	size := uint64(im.File.Size())
	if end < start || start > size || end-start > maxPacked {
		return im.Corrupt(offTable+number*offsetBytes, "block %d is not in the file", number)
	}
	packed := make([]byte, min(end, size)-start)
	if _, err := im.File.ReadAt(packed, int64(start)); err != nil {
		return err
	}
	if err := readonly.Inflate(out, packed); err != nil {
		return &blockdev.Error{Kind: blockdev.ErrCorrupt, Op: "read", File: im.Name, Offset: int64(start),
			Text: "Compressed block cannot be decompressed", Err: err}
	}
	return nil
}
