// Package asif reads Apple's sparse images, as macOS 26 and later make them.
//
//	header --> directory --> table --> chunk group --> data chunk
//	   |                                   |               ^
//	   +-----> older directory             +--> bitmap ----+ which sectors were written
//
// The file is cut into chunks of one size, usually 1 MiB. A directory has the number of
// the chunk with each table; a table is a row of chunk groups; a group has an entry of 8
// bytes for each of its data chunks and one for the chunk with its bitmap, which has 2 bits
// for each sector. Of the two directories the one with the higher sequence number counts.
// Numbers are big-endian.
//
// Apple has published no specification. The layout is that of github.com/huven/asif-format,
// which the reader of Lima and dissect agree with. States that have never been seen are
// refused.
package asif

import (
	"context"
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/readonly"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:  "asif",
		Probe: probe,
		Open:  blockdev.Opener(Open),
	})
}

// probe knows an image by magic number and version.
func probe(head []byte, _ string) int {
	if len(head) >= headerBytes && string(head[:4]) == magic && binary.BigEndian.Uint32(head[offVersion:]) == version {
		return 100
	}
	return 0
}

// Image is an opened image: a [blockdev.Node].
type Image struct {
	readonly.Image
	header
	directory int64 // where the entries of the directory in use begin, in the file
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
	im := &Image{Image: readonly.New(r, h.size), header: h}
	newest := uint64(0)
	for i, off := range h.directories {
		sequence, err := im.entry(off)
		if err != nil {
			return nil, err
		}
		if i == 0 || sequence > newest {
			newest, im.directory = sequence, off+entryBytes
		}
	}
	return im, nil
}

// Info tells the chunk size.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	return blockdev.ImageInfo{ClusterSize: im.chunkSize}, nil
}

// ReadAt reads guest bytes.
func (im *Image) ReadAt(p []byte, off int64) (int, error) { return blockdev.Read(im, p, off) }

// entry reads 8 bytes of a table.
func (im *Image) entry(off int64) (uint64, error) {
	var b [entryBytes]byte
	if err := blockdev.ReadPadded(im.File, b[:], off); err != nil {
		return 0, err
	}
	return binary.BigEndian.Uint64(b[:]), nil
}

// chunk is where a chunk of the file begins. It must have begun before the end of the file,
// and is never the first one, which has the header. at is where its number was read.
func (im *Image) chunk(number uint64, at int64) (int64, error) {
	if number == 0 || number > uint64(im.File.Size()-1)/uint64(im.chunkSize) {
		return 0, im.Corrupt(at, "chunk %d is not in the file", number)
	}
	return int64(number) * im.chunkSize, nil
}

// Map tells what is in the file, and where. "Readers" in the layout's description.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := im.CheckRange("map", off, n); err != nil || n == 0 {
		return blockdev.Extent{}, err
	}
	at := im.directory + off/im.tableSpan()*entryBytes
	table, err := im.entry(at)
	if err != nil {
		return blockdev.Extent{}, err
	}
	if table == 0 {
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: min(n, im.tableSpan()-off%im.tableSpan())}, nil
	}
	start, err := im.chunk(table, at)
	if err != nil {
		return blockdev.Extent{}, err
	}
	in := off % im.tableSpan()
	group := start + in/im.groupSpan()*im.groupBytes()
	at = group + in%im.groupSpan()/im.chunkSize*entryBytes
	e, err := im.entry(at)
	if err != nil {
		return blockdev.Extent{}, err
	}
	return im.mapChunk(e, at, group, off, min(n, im.chunkSize-off%im.chunkSize))
}

// mapChunk maps bytes of one data chunk, whose entry is e, read from at.
func (im *Image) mapChunk(e uint64, at, group, off, n int64) (blockdev.Extent, error) {
	status, number := e>>statusShift, e&numberMask
	if status == statusAbsent && number == 0 {
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: n}, nil
	}
	if status != statusFull && status != statusPartial {
		return blockdev.Extent{}, blockdev.ErrorAt(blockdev.ErrNotSupported, "map", im.Name, at, "chunk with unknown status, entry 0x%x", e)
	}
	host, err := im.chunk(number, at)
	if err != nil {
		return blockdev.Extent{}, err
	}
	data := blockdev.Extent{Kind: blockdev.ExtentData, Len: n, Node: im.File, Host: host + off%im.chunkSize}
	if status == statusFull {
		return data, nil
	}
	written, run, err := im.sectors(group, off, n)
	if err != nil {
		return blockdev.Extent{}, err
	}
	if !written {
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: run, Allocated: true}, nil
	}
	data.Len = run
	return data, nil
}

// sectors looks into the bitmap of a group: if the sector at off was written, and for how
// many bytes, at most n, that goes on.
func (im *Image) sectors(group, off, n int64) (written bool, run int64, err error) {
	at := group + im.groupChunks()*entryBytes
	e, err := im.entry(at)
	if err != nil {
		return false, 0, err
	}
	bitmap, err := im.chunk(e&numberMask, at)
	if err != nil {
		return false, 0, err
	}
	first := off % im.groupSpan() / im.sectorSize
	last := (off%im.groupSpan() + n - 1) / im.sectorSize
	b := make([]byte, last/sectorsPerByte-first/sectorsPerByte+1)
	if err := blockdev.ReadPadded(im.File, b, bitmap+first/sectorsPerByte); err != nil {
		return false, 0, err
	}
	state := func(sector int64) byte {
		return b[sector/sectorsPerByte-first/sectorsPerByte] >> (sector % sectorsPerByte * 2) & 3
	}
	end := first
	for end <= last && state(end) == state(first) {
		end++
	}
	if state(first) > sectorWritten {
		return false, 0, blockdev.ErrorAt(blockdev.ErrNotSupported, "map", im.Name, bitmap+first/sectorsPerByte,
			"sector with unknown state %d", state(first))
	}
	return state(first) == sectorWritten, min(n, end*im.sectorSize-off%im.groupSpan()), nil
}
