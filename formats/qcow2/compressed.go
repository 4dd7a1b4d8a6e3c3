package qcow2

import (
	"bytes"
	"io"
	"sync"

	"github.com/klauspost/compress/zstd"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/inflate"
)

// compressedRange is where the data of a compressed cluster lies, section "Compressed
// Clusters Descriptor": any byte offset, and up to the end of a 512-byte sector.
type compressedRange struct{ off, len int64 }

const sectorSize = 512

// compressedOffsetBits is how many bits of an entry are the offset.
func (im *Image) compressedOffsetBits() uint { return 62 - (im.clusterBits - 8) }

func (im *Image) compressedExtent(e uint64) compressedRange {
	x := im.compressedOffsetBits()
	off := int64(e & (1<<x - 1))
	sectors := int64(e>>x&(1<<(im.clusterBits-8)-1)) + 1
	return compressedRange{off, sectors*sectorSize - off%sectorSize}
}

// compressedEntry is the L2 entry for n bytes of data at off.
func (im *Image) compressedEntry(off, n int64) uint64 {
	sectors := (off+n-1)/sectorSize - off/sectorSize
	return entryCompressed | uint64(sectors)<<im.compressedOffsetBits() | uint64(off)
}

// compressedClusters are the host clusters that the data touches; each counts one reference.
func (im *Image) compressedClusters(e uint64) clusterRun {
	c := im.compressedExtent(e)
	first := c.off >> im.clusterBits
	return clusterRun{first, (c.off+c.len-1)>>im.clusterBits + 1 - first}
}

// readCompressed reads bytes at offset in of a compressed cluster. No lock is needed.
func (im *Image) readCompressed(e uint64, p []byte, in int64) error {
	c := im.compressedExtent(e)
	if c.off >= maxHostOffset || c.off >= im.file.Size() {
		return im.corrupt("read", c.off, "Compressed cluster is beyond the end of the image")
	}
	held := im.inflaters.buffer(c.len)
	defer im.inflaters.packed.Put(held)
	packed := (*held)[:c.len]
	im.raise(blockdev.EventReadCompressed)
	if err := readPadded(im.file, packed, c.off); err != nil {
		return err
	}
	plain := p
	if in != 0 {
		plain = make([]byte, in+int64(len(p)))
	}
	if err := im.inflaters.decompress(im.compression, plain, packed); err != nil {
		return &blockdev.Error{Kind: blockdev.ErrCorrupt, Op: "read", File: im.name, Offset: c.off, Text: "Compressed cluster cannot be decompressed", Err: err}
	}
	if in != 0 {
		copy(p, plain[in:])
	}
	return nil
}

// inflaters are reusable decompressors, and buffers for what they read.
type inflaters struct {
	zstd   sync.Pool // of *zstd.Decoder
	packed sync.Pool // of *[]byte
}

// buffer is for n bytes of compressed data.
func (d *inflaters) buffer(n int64) *[]byte {
	b, ok := d.packed.Get().(*[]byte)
	if !ok || int64(len(*b)) < n {
		fresh := make([]byte, n)
		return &fresh
	}
	return b
}

// zstdMaxMemory bounds what a frame may ask for: a cluster, with room for the largest
// window that encoders use for one.
const zstdMaxMemory = 8 << 20

// decompress fills out, the beginning of a cluster, from data, behind which there may be
// garbage.
func (d *inflaters) decompress(kind uint8, out, data []byte) error {
	if kind == compressionZstd {
		return d.unzstd(out, data)
	}
	n, _, err := inflate.Raw(out, data)
	switch {
	case n == len(out):
		return nil
	case err == nil:
		return io.ErrUnexpectedEOF
	}
	return err
}

func (d *inflaters) unzstd(out, data []byte) error {
	r, ok := d.zstd.Get().(*zstd.Decoder)
	if !ok {
		var err error
		r, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(zstdMaxMemory), zstd.WithDecoderLowmem(true))
		if err != nil {
			return err
		}
	}
	defer d.zstd.Put(r)
	if err := r.Reset(bytes.NewReader(data)); err != nil {
		return err
	}
	_, err := io.ReadFull(r, out)
	return err
}

// close lets go of the pools.
func (d *inflaters) close() {
	d.zstd, d.packed = sync.Pool{}, sync.Pool{}
}
