package asif

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

const (
	magic   = "shdw"
	version = 1
)

// Offsets of the header's fields.
const (
	offVersion     = 0x04
	offDirectories = 0x10 // two
	offSectors     = 0x30
	offMaxSectors  = 0x38
	offChunkSize   = 0x40
	offSectorSize  = 0x44
	headerBytes    = 0x50
)

// What entries of tables and bitmaps mean.
const (
	entryBytes     = 8
	statusShift    = 62
	numberMask     = 1<<55 - 1
	statusAbsent   = 0
	statusFull     = 1
	statusPartial  = 3
	sectorsPerByte = 4
	sectorWritten  = 1
)

const (
	// minChunkSize has room for one group of the smallest sectors. maxChunkSize bounds what
	// is read of a bitmap at once; Apple's tools make 1 MiB.
	minChunkSize = 64 << 10
	maxChunkSize = 64 << 20
	minSector    = 512
	maxSector    = 4096
)

// header is what matters of the header, in bytes.
type header struct {
	directories [2]int64
	size        int64
	chunkSize   int64
	sectorSize  int64
}

// groupChunks is how many data chunks a group has: with two bits for each sector, a bitmap
// is as long as a chunk.
func (h *header) groupChunks() int64 { return sectorsPerByte * h.sectorSize }

// groupBytes is the size of a group in its table.
func (h *header) groupBytes() int64 { return (h.groupChunks() + 1) * entryBytes }

// groupSpan is how much of the disk a group is for.
func (h *header) groupSpan() int64 { return h.groupChunks() * h.chunkSize }

// tableSpan is how much of the disk a table is for.
func (h *header) tableSpan() int64 { return h.chunkSize / h.groupBytes() * h.groupSpan() }

// tables is how many there are for the disk.
func (h *header) tables() int64 {
	n := h.size / h.tableSpan()
	if h.size%h.tableSpan() != 0 {
		n++
	}
	return n
}

func readHeader(file blockdev.Node, name string) (h header, err error) {
	refuse := func(kind error, format string, args ...any) (header, error) {
		return header{}, blockdev.Errorf(kind, "open", name, format, args...)
	}
	b := make([]byte, headerBytes)
	if file.Size() < headerBytes {
		return refuse(blockdev.ErrFormat, "Image not in ASIF format")
	}
	if _, err := file.ReadAt(b, 0); err != nil {
		return h, err
	}
	be := binary.BigEndian
	sectors, most := be.Uint64(b[offSectors:]), be.Uint64(b[offMaxSectors:])
	chunk, sector := be.Uint32(b[offChunkSize:]), uint32(be.Uint16(b[offSectorSize:]))
	switch {
	case string(b[:4]) != magic:
		return refuse(blockdev.ErrFormat, "Image not in ASIF format")
	case be.Uint32(b[offVersion:]) != version:
		return refuse(blockdev.ErrNotSupported, "Unsupported ASIF version %d", be.Uint32(b[offVersion:]))
	case sector < minSector || sector > maxSector || sector&(sector-1) != 0:
		return refuse(blockdev.ErrCorrupt, "Sector size %d is not a power of two from %d to %d", sector, minSector, maxSector)
	case chunk < minChunkSize || chunk > maxChunkSize || chunk%sector != 0:
		return refuse(blockdev.ErrLimit, "Chunk size %d is not from %d to %d in whole sectors", chunk, minChunkSize, maxChunkSize)
	case sectors > blockdev.MaxSize/uint64(sector):
		return refuse(blockdev.ErrLimit, "%d sectors are too many", sectors)
	case sectors > most:
		return refuse(blockdev.ErrCorrupt, "%d sectors are more than the maximum of %d", sectors, most)
	}
	h = header{size: int64(sectors) * int64(sector), chunkSize: int64(chunk), sectorSize: int64(sector)}
	if h.groupBytes() > h.chunkSize {
		return refuse(blockdev.ErrCorrupt, "Chunks of %d bytes have no room for a group", chunk)
	}
	directory := (1 + h.tables()) * entryBytes // behind its sequence number
	for i := range h.directories {
		off := be.Uint64(b[offDirectories+8*i:])
		if off < headerBytes || off > uint64(file.Size()) || directory > file.Size()-int64(off) {
			return refuse(blockdev.ErrCorrupt, "Directory, %d bytes at 0x%x, is not in the file", directory, off)
		}
		h.directories[i] = int64(off)
	}
	return h, nil
}
