package vdi

import (
	"encoding/binary"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// Offsets of the header's fields.
const (
	offSignature   = 64
	offVersion     = 68
	offHeaderSize  = 72 // of what begins here, bytes
	offType        = 76
	offMapOffset   = 0x154
	offDataOffset  = 0x158
	offSectorSize  = 0x168
	offDiskSize    = 0x170
	offBlockSize   = 0x178
	offBlockExtra  = 0x17c // bytes before each block's data
	offBlocks      = 0x180
	offAllocated   = 0x184
	offUUID        = 0x188 // of the image, then of its last change
	offModifyUUID  = 0x198
	offLinkUUID    = 0x1a8 // of the image below, zero for none, then of its last change
	offParentUUID  = 0x1b8
	headerBytes    = 512
	headerSize     = 0x180
	uuidBytes      = 16
	mapEntryBytes  = 4
	sectorSize     = 512
	signature      = 0xbeda107f
	version11      = 1<<16 | 1
	imageDynamic   = 1
	imageStatic    = 2
	imageDiff      = 4
	creator        = "<<< QEMU VM Virtual Disk Image >>>\n"
	blockSize      = 1 << 20
	entryDiscarded = 0xfffffffe
	entryUnused    = 0xffffffff
)

const (
	// maxBlocks is the most that a map has, the same as QEMU's, whose map must stay below
	// 2 GiB. Nothing of that size is allocated here.
	maxBlocks = 0x1fffff80
	maxSize   = maxBlocks * blockSize
)

// uuid is an identifier as it is stored: its first three fields are little-endian.
type uuid [uuidBytes]byte

// String is the notation that VirtualBox uses.
func (u uuid) String() string {
	le := binary.LittleEndian
	return fmt.Sprintf("{%08x-%04x-%04x-%x-%x}", le.Uint32(u[:]), le.Uint16(u[4:]), le.Uint16(u[6:]), u[8:10], u[10:])
}

// header is the part of the header that matters here.
type header struct {
	kind      uint32
	mapOffset int64
	data      int64 // offset of block 0
	size      int64 // of the disk, bytes
	blocks    int64
	allocated int64
	id        uuid // of the image, then of its last change
	modified  uuid
	link      uuid // of the image below, zero for none, then of the last change to it
	linkState uuid
}

// mapBytes is the size of the map.
func (h *header) mapBytes() int64 { return h.blocks * mapEntryBytes }

// readHeader reads and checks it. With noIO nobody looks into the map, which may be missing.
func readHeader(file blockdev.Node, name string, noIO bool) (*header, error) {
	b := make([]byte, headerBytes)
	if file.Size() < headerBytes {
		return nil, blockdev.Errorf(blockdev.ErrFormat, "open", name, "Image not in VDI format (the file has %d bytes)", file.Size())
	}
	if _, err := file.ReadAt(b, 0); err != nil {
		return nil, err
	}
	le := binary.LittleEndian
	h := &header{
		kind:      le.Uint32(b[offType:]),
		mapOffset: int64(le.Uint32(b[offMapOffset:])),
		data:      int64(le.Uint32(b[offDataOffset:])),
		blocks:    int64(le.Uint32(b[offBlocks:])),
		allocated: int64(le.Uint32(b[offAllocated:])),
		id:        uuid(b[offUUID:]), modified: uuid(b[offModifyUUID:]),
		link: uuid(b[offLinkUUID:]), linkState: uuid(b[offParentUUID:]),
	}
	size := le.Uint64(b[offDiskSize:])
	h.size = int64(size)
	if size <= maxSize {
		h.size = (h.size + sectorSize - 1) / sectorSize * sectorSize
	}
	return h, h.check(b, size, file.Size(), noIO, name)
}

// check refuses what cannot be right, and what is not supported, in QEMU's order.
func (h *header) check(b []byte, size uint64, fileSize int64, noIO bool, name string) error {
	le := binary.LittleEndian
	version := le.Uint32(b[offVersion:])
	sector, block := le.Uint32(b[offSectorSize:]), le.Uint32(b[offBlockSize:])
	diff := h.kind == imageDiff && h.link != uuid{}
	refuse := func(kind error, format string, args ...any) error {
		return blockdev.Errorf(kind, "open", name, format, args...)
	}
	switch {
	case size > maxSize:
		return refuse(blockdev.ErrLimit, "Unsupported VDI image size (size is 0x%x, max supported is 0x%x)", size, int64(maxSize))
	case le.Uint32(b[offSignature:]) != signature:
		return refuse(blockdev.ErrFormat, "Image not in VDI format (bad signature %08x)", le.Uint32(b[offSignature:]))
	case version != version11:
		return refuse(blockdev.ErrNotSupported, "unsupported VDI image (version %d.%d)", version>>16, version&0xffff)
	case h.mapOffset%sectorSize != 0:
		return refuse(blockdev.ErrCorrupt, "unsupported VDI image (unaligned block map offset 0x%x)", h.mapOffset)
	case h.data%sectorSize != 0:
		return refuse(blockdev.ErrCorrupt, "unsupported VDI image (unaligned data offset 0x%x)", h.data)
	case sector != sectorSize:
		return refuse(blockdev.ErrNotSupported, "unsupported VDI image (sector size %d is not %d)", sector, sectorSize)
	case block != blockSize:
		return refuse(blockdev.ErrNotSupported, "unsupported VDI image (block size %d is not %d)", block, blockSize)
	case h.size > h.blocks*blockSize:
		return refuse(blockdev.ErrCorrupt, "unsupported VDI image (disk size %d, image bitmap has room for %d)", h.size, h.blocks*blockSize)
	case h.link != uuid{} && !diff:
		return refuse(blockdev.ErrNotSupported, "unsupported VDI image (non-NULL link UUID)")
	case h.linkState != uuid{} && !diff:
		return refuse(blockdev.ErrNotSupported, "unsupported VDI image (non-NULL parent UUID)")
	case h.blocks > maxBlocks:
		return refuse(blockdev.ErrLimit, "unsupported VDI image (too many blocks %d, max is %d)", h.blocks, maxBlocks)
	case le.Uint32(b[offBlockExtra:]) != 0:
		return refuse(blockdev.ErrNotSupported, "unsupported VDI image (%d bytes before each block)", le.Uint32(b[offBlockExtra:]))
	case h.mapOffset < headerBytes || !noIO && h.mapOffset+h.mapBytes() > fileSize:
		return refuse(blockdev.ErrCorrupt, "the block map, %d bytes at 0x%x, is not in the file", h.mapBytes(), h.mapOffset)
	case !noIO && h.data < h.mapOffset+h.mapBytes():
		return refuse(blockdev.ErrCorrupt, "the data, at 0x%x, begins before the end of the block map", h.data)
	}
	return nil
}

// encode makes the header of a new image.
func (h *header) encode() []byte {
	b := make([]byte, headerBytes)
	le := binary.LittleEndian
	copy(b, creator)
	le.PutUint32(b[offSignature:], signature)
	le.PutUint32(b[offVersion:], version11)
	le.PutUint32(b[offHeaderSize:], headerSize)
	le.PutUint32(b[offType:], h.kind)
	le.PutUint32(b[offMapOffset:], uint32(h.mapOffset))
	le.PutUint32(b[offDataOffset:], uint32(h.data))
	le.PutUint32(b[offSectorSize:], sectorSize)
	le.PutUint64(b[offDiskSize:], uint64(h.size))
	le.PutUint32(b[offBlockSize:], blockSize)
	le.PutUint32(b[offBlocks:], uint32(h.blocks))
	le.PutUint32(b[offAllocated:], uint32(h.allocated))
	copy(b[offUUID:], h.id[:])
	copy(b[offModifyUUID:], h.modified[:])
	return b
}
