package parallels

import (
	"encoding/binary"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// Offsets of the header's fields, section "Header".
const (
	offVersion    = 16
	offHeads      = 20
	offCylinders  = 24
	offTracks     = 28 // cluster size, sectors
	offEntries    = 32
	offSectors    = 36
	offInUse      = 44
	offDataOffset = 48
	offFlags      = 52
	offExtension  = 56
	headerBytes   = 64
	entryBytes    = 4
	sectorSize    = 512

	magicSectors  = "WithoutFreeSpace"
	magicClusters = "WithouFreSpacExt"
	version2      = 2
	inUse         = 0x746f6e59
	notInUse      = 0 // closed by software that leaves extensions alone
	flagEmpty     = 1
)

const (
	// maxTracks and maxEntries are QEMU's limits, which keep a cluster and the table below
	// 2 GiB. Nothing of that size is allocated here.
	maxTracks  = (1<<31 - 1) / 513
	maxEntries = (1<<31 - 1) / entryBytes
)

// header is what it says, checked.
type header struct {
	clusterSize int64
	unit        int64 // what entries count, bytes
	entries     int64
	size        int64 // of the disk, bytes
	inUse       bool
	data        int64 // where clusters may begin
	flags       uint32
	extension   uint64
}

func isMagic(b []byte) bool {
	return string(b[:offVersion]) == magicSectors || string(b[:offVersion]) == magicClusters
}

func readHeader(file blockdev.Node, name string) (*header, error) {
	refuse := func(kind error, format string, args ...any) (*header, error) {
		return nil, blockdev.Errorf(kind, "open", name, format, args...)
	}
	if file.Size() < headerBytes {
		return refuse(blockdev.ErrFormat, "Image not in Parallels format")
	}
	b := make([]byte, headerBytes)
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	tracks, entries, sectors := le.Uint32(b[offTracks:]), le.Uint32(b[offEntries:]), le.Uint64(b[offSectors:])
	clusters := string(b[:offVersion]) == magicClusters
	if !clusters {
		sectors &= 0xffffffff
	}
	h := &header{
		clusterSize: int64(tracks) * sectorSize, unit: sectorSize, entries: int64(entries),
		inUse: le.Uint32(b[offInUse:]) == inUse, data: int64(le.Uint32(b[offDataOffset:])) * sectorSize,
		flags: le.Uint32(b[offFlags:]), extension: le.Uint64(b[offExtension:]),
	}
	if clusters {
		h.unit = h.clusterSize
	}
	switch {
	case !isMagic(b), le.Uint32(b[offVersion:]) != version2:
		return refuse(blockdev.ErrFormat, "Image not in Parallels format")
	case tracks == 0:
		return refuse(blockdev.ErrCorrupt, "Invalid image: Zero sectors per track")
	case tracks > maxTracks:
		return refuse(blockdev.ErrLimit, "Invalid image: Too big cluster")
	case entries > maxEntries:
		return refuse(blockdev.ErrLimit, "Catalog too large")
	case sectors > blockdev.MaxSize/sectorSize:
		return nil, &blockdev.Error{Kind: blockdev.ErrLimit, Op: "open", File: name, Offset: blockdev.NoOffset, Err: syscall.EFBIG}
	case headerBytes+h.entries*entryBytes > file.Size():
		return refuse(blockdev.ErrCorrupt, "the table of %d entries is not in the file", entries)
	}
	h.size = int64(sectors) * sectorSize
	if (h.size+h.clusterSize-1)/h.clusterSize > h.entries {
		return refuse(blockdev.ErrCorrupt, "the disk of %d sectors is larger than its table of %d entries", sectors, entries)
	}
	// An offset that is missing, or over the table, gives the end of the table instead.
	tableEnd := (headerBytes + h.entries*entryBytes + sectorSize - 1) / sectorSize * sectorSize
	if h.data < tableEnd {
		h.data = tableEnd
	}
	return h, nil
}

// encode makes the header of a new image.
func (h *header) encode() []byte {
	b := make([]byte, headerBytes)
	le := binary.LittleEndian
	// Nobody goes by the geometry: it only has to be there.
	const heads, sectorsPerTrack = 16, 32
	copy(b, magicClusters)
	le.PutUint32(b[offVersion:], version2)
	le.PutUint32(b[offHeads:], heads)
	le.PutUint32(b[offCylinders:], uint32(h.size/sectorSize/heads/sectorsPerTrack))
	le.PutUint32(b[offTracks:], uint32(h.clusterSize/sectorSize))
	le.PutUint32(b[offEntries:], uint32(h.entries))
	le.PutUint64(b[offSectors:], uint64(h.size/sectorSize))
	le.PutUint32(b[offDataOffset:], uint32(h.data/sectorSize))
	return b
}
