package vmdk

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"sync"
	"syscall"

	"github.com/klauspost/compress/zlib"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/inflate"
)

// Section "Stream-Optimized Compressed Sparse Extents": a grain is stored as a marker with
// its first sector on the disk and its length, and that many bytes of zlib data.
const (
	markerSize = 12
	offLength  = 8
)

// maxPacked is how long a packed grain may be: zlib adds a few bytes to what does not pack.
func maxPacked(grain int64) int64 { return grain + grain/8 + 1024 }

var (
	packers = sync.Pool{New: func() any { return zlib.NewWriter(nil) }}
	// packedBuffers hold packed grains while they are unpacked.
	packedBuffers = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// ReadOpaque unpacks grains.
func (im *Image) ReadOpaque(p []byte, off int64) error {
	e := im.extentAt(off)
	off -= e.start
	gs := e.geo.grain
	for len(p) > 0 {
		im.mu.Lock()
		state, host, err := e.lookup(off / gs)
		im.mu.Unlock()
		if err != nil {
			return err
		}
		if state != grainStored {
			return blockdev.ErrorAt(blockdev.ErrInvalid, "read", e.name, off, "VMDK grain is not stored")
		}
		n, in := min(int64(len(p)), gs-off%gs), off%gs
		if in == 0 && n == gs {
			err = e.unpack(p[:n], host)
		} else {
			grain := make([]byte, min(gs, e.size-off+in))
			if err = e.unpack(grain, host); err == nil {
				copy(p[:n], grain[in:])
			}
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// unpack reads the grain at host; p is as long as what the disk has of it.
func (e *extent) unpack(p []byte, host int64) error {
	blockdev.Raise(e.file, blockdev.EventReadCompressed)
	marker := make([]byte, markerSize)
	if err := readFull(e.file, marker, host); err != nil {
		return err
	}
	n := int64(binary.LittleEndian.Uint32(marker[offLength:]))
	corrupt := func() error {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "read", e.name, host, "VMDK compressed grain is damaged")
	}
	if n == 0 || n > maxPacked(e.geo.grain) {
		return corrupt()
	}
	held := packedBuffers.Get().(*bytes.Buffer)
	defer packedBuffers.Put(held)
	held.Reset()
	held.Grow(int(n))
	packed := held.AvailableBuffer()[:n]
	if err := readFull(e.file, packed, host+markerSize); err != nil {
		return err
	}
	got, err := inflate.Zlib(p, packed)
	if err != nil && !errors.Is(err, inflate.ErrFull) {
		return corrupt()
	}
	clear(p[got:]) // a short grain, as QEMU writes the last one
	return nil
}

// WriteCompressed stores a whole grain, which must not be stored yet. In extents that are
// not compressed it is written as it is.
func (im *Image) WriteCompressed(p []byte, off int64) error {
	if !im.isStream() {
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", im.name, "Compression not supported for this file format")
	}
	_, err := im.WriteAt(p, off)
	return err
}

// isStream tells if all extents are compressed.
func (im *Image) isStream() bool {
	for _, e := range im.extents {
		if e.geo == nil || !e.geo.compressed {
			return false
		}
	}
	return true
}

// writtenTwice is the error about a compressed grain that is there already.
func (im *Image) writtenTwice(e *extent) error {
	return &blockdev.Error{Kind: blockdev.ErrNotSupported, Op: "write", File: e.name, Offset: blockdev.NoOffset, Err: syscall.EIO}
}

// writeGrain packs p, which lies in one grain, and appends it to the file.
func (im *Image) writeGrain(e *extent, p []byte, off int64) (int64, error) {
	gs := e.geo.grain
	im.mu.Lock()
	state, _, err := e.lookup(off / gs)
	im.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if state == grainStored {
		return 0, im.writtenTwice(e)
	}
	kind := blockdev.ExtentUnallocated
	if state == grainZero {
		kind = blockdev.ExtentZero
	}
	whole, err := im.wholeGrains(e, p, off, kind)
	if err != nil {
		return 0, err
	}
	b, err := pack(whole, (off-off%gs)/sectorSize)
	if err != nil {
		return 0, err
	}
	return int64(len(p)), im.appendGrain(e, b, off/gs)
}

// pack makes a marker and the packed grain behind it, in whole sectors.
func pack(p []byte, sector int64) ([]byte, error) {
	var b bytes.Buffer
	b.Write(make([]byte, markerSize))
	z := packers.Get().(*zlib.Writer)
	defer packers.Put(z)
	z.Reset(&b)
	if _, err := z.Write(p); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	binary.LittleEndian.PutUint64(b.Bytes(), uint64(sector))
	binary.LittleEndian.PutUint32(b.Bytes()[offLength:], uint32(b.Len()-markerSize))
	b.Write(make([]byte, -b.Len()&(sectorSize-1)))
	return b.Bytes(), nil
}

// appendGrain writes a packed grain behind the last one.
func (im *Image) appendGrain(e *extent, b []byte, grain int64) error {
	if err := im.makeRoom(e); err != nil {
		return err
	}
	im.allocMu.Lock()
	defer im.allocMu.Unlock()
	if (e.end+int64(len(b)))/sectorSize > math.MaxUint32 {
		return blockdev.Errorf(blockdev.ErrNoSpace, "write", e.name, "VMDK extent is full")
	}
	if err := im.checkTables(e, grain, 1); err != nil {
		return err
	}
	im.mu.Lock()
	state, _, err := e.lookup(grain)
	im.mu.Unlock()
	if err == nil && state == grainStored {
		err = im.writtenTwice(e)
	}
	if err != nil {
		return err
	}
	blockdev.Raise(e.file, blockdev.EventWriteCompressed)
	if _, err := e.file.WriteAt(b, e.end); err != nil {
		return err
	}
	at := e.end
	e.end += int64(len(b))
	im.mu.Lock()
	defer im.mu.Unlock()
	return e.set(grain, uint32(at/sectorSize))
}
