package vhdx

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
)

// Section 2.6: the metadata region.
const (
	metadataSignature = "metadata"
	metadataTableSize = 64 * kib
	offItemCount      = 10
	offItemFirst      = 32
	itemEntrySize     = 32

	itemIsVirtualDisk = 1 << 1
	itemIsRequired    = 1 << 2
)

// Section 2.6.2.1: file parameters.
const (
	paramLeaveAllocated = 1 << 0
	paramHasParent      = 1 << 1
	minBlockSize        = mib
	maxBlockSize        = 256 * mib
)

// maxDiskSize is the largest disk, section 2.6.2.2.
const maxDiskSize = 64 * tib

// metadata is what the metadata region says of the disk.
type metadata struct {
	blockSize      int64
	leaveAllocated bool // of a fixed image: blocks are never given back
	hasParent      bool
	diskSize       int64
	sectorSize     int64
	physicalSize   int64
	diskID         guid
	parent         *locator // nil if there is none
}

// chunkRatio is how many blocks one sector bitmap block is for, section 2.5.
func (m *metadata) chunkRatio() int64 { return (1 << 23) * m.sectorSize / m.blockSize }

// blocks is how many payload blocks the disk has.
func (m *metadata) blocks() int64 { return (m.diskSize + m.blockSize - 1) / m.blockSize }

// batEntries is how many entries the table needs, with those for sector bitmaps.
func (m *metadata) batEntries() int64 {
	n := m.blocks()
	switch {
	case n == 0:
		return 0
	case m.hasParent: // each chunk has its sector bitmap, the last one too
		return (n + m.chunkRatio() - 1) / m.chunkRatio() * (m.chunkRatio() + 1)
	}
	return n + (n-1)/m.chunkRatio()
}

// item is a metadata item that we know.
type item struct {
	id       guid
	size     int64
	required bool // an image without it is no image
	decode   func(m *metadata, b []byte)
}

var items = []item{
	{itemFileParameters, 8, true, func(m *metadata, b []byte) {
		m.blockSize = int64(binary.LittleEndian.Uint32(b))
		m.leaveAllocated = b[4]&paramLeaveAllocated != 0
		m.hasParent = b[4]&paramHasParent != 0
	}},
	{itemVirtualDiskSize, 8, true, func(m *metadata, b []byte) {
		m.diskSize = int64(min(binary.LittleEndian.Uint64(b), maxDiskSize+1))
	}},
	{itemLogicalSectorSize, 4, true, func(m *metadata, b []byte) {
		m.sectorSize = int64(binary.LittleEndian.Uint32(b))
	}},
	{itemPhysicalSectorSize, 4, false, func(m *metadata, b []byte) {
		m.physicalSize = int64(binary.LittleEndian.Uint32(b))
	}},
	{itemVirtualDiskID, 16, false, func(m *metadata, b []byte) { m.diskID = guid(b) }},
	// It has no fixed size, see readLocator.
	{itemParentLocator, 0, false, nil},
}

// readMetadata reads the region and checks what it says.
func readMetadata(file blockdev.Node, name string, region span) (*metadata, error) {
	b := make([]byte, metadataTableSize)
	if _, err := file.ReadAt(b, region.off); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint16(b[offItemCount:]))
	if string(b[:len(metadataSignature)]) != metadataSignature || n > maxEntries {
		return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, region.off, "VHDX metadata table is damaged")
	}
	m := &metadata{}
	var locator span
	seen := map[guid]bool{}
	for i := range n {
		e := b[offItemFirst+i*itemEntrySize:][:itemEntrySize]
		if seen[guid(e)] {
			return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, region.off, "VHDX metadata has an item twice")
		}
		seen[guid(e)] = true
		if guid(e) == itemParentLocator {
			locator = itemSpan(e)
		}
		if err := m.readItem(file, name, region, e); err != nil {
			return nil, err
		}
	}
	for _, it := range items {
		if it.required && !seen[it.id] {
			return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, region.off, "VHDX metadata lacks a required item")
		}
	}
	if err := m.validate(name); err != nil || !m.hasParent {
		return m, err
	}
	return m, m.readLocator(file, name, region, locator)
}

// itemSpan is where in the region the item is that the entry e of the table is about.
func itemSpan(e []byte) span {
	return span{int64(binary.LittleEndian.Uint32(e[16:])), int64(binary.LittleEndian.Uint32(e[20:]))}
}

// readLocator reads the parent locator.
func (m *metadata) readLocator(file blockdev.Node, name string, region, at span) error {
	switch {
	case at.off < metadataTableSize || at.end() > region.len:
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, region.off, "VHDX parent locator of %d bytes at %#x is invalid", at.len, at.off)
	case at.len > maxLocator:
		return blockdev.ErrorAt(blockdev.ErrLimit, "open", name, region.off, "VHDX parent locator of %d bytes is longer than %d", at.len, maxLocator)
	}
	b := make([]byte, at.len)
	if _, err := file.ReadAt(b, region.off+at.off); err != nil {
		return err
	}
	var err error
	m.parent, err = decodeLocator(b, name)
	return err
}

// readItem reads the item that the entry e of the table is about, section 2.6.1.2.
func (m *metadata) readItem(file blockdev.Node, name string, region span, e []byte) error {
	at := itemSpan(e)
	flags := binary.LittleEndian.Uint32(e[24:])
	for _, it := range items {
		if it.id != guid(e) {
			continue
		}
		if it.size == 0 {
			return nil
		}
		if at.len < it.size || at.off < metadataTableSize || at.end() > region.len {
			return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, region.off, "VHDX metadata item of %d bytes at %#x is invalid", at.len, at.off)
		}
		b := make([]byte, it.size)
		if _, err := file.ReadAt(b, region.off+at.off); err != nil {
			return err
		}
		it.decode(m, b)
		return nil
	}
	if flags&itemIsRequired != 0 {
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", name, "VHDX image needs an unknown metadata item")
	}
	return nil
}

func (m *metadata) validate(name string) error {
	powerOfTwo := m.blockSize&(m.blockSize-1) == 0
	switch {
	case m.blockSize < minBlockSize || m.blockSize > maxBlockSize || !powerOfTwo:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VHDX block size %d is invalid", m.blockSize)
	case m.sectorSize != 512 && m.sectorSize != 4096:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VHDX sector size %d is invalid", m.sectorSize)
	case m.diskSize > maxDiskSize:
		return blockdev.Errorf(blockdev.ErrLimit, "open", name, "VHDX disk is larger than 64 TiB")
	case m.diskSize%m.sectorSize != 0:
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VHDX disk size %d is not in whole sectors", m.diskSize)
	}
	return nil
}

// encode makes the beginning of a metadata region: the table and the items behind it.
func (m *metadata) encode() []byte {
	le := binary.LittleEndian
	b := make([]byte, metadataTableSize+kib)
	copy(b, metadataSignature)
	at := metadataTableSize
	n := 0
	put := func(id guid, flags uint32, data []byte) {
		e := b[offItemFirst+n*itemEntrySize:]
		copy(e, id[:])
		le.PutUint32(e[16:], uint32(at))
		le.PutUint32(e[20:], uint32(len(data)))
		le.PutUint32(e[24:], flags)
		at += copy(b[at:], data)
		n++
	}
	var params uint32
	if m.leaveAllocated {
		params = paramLeaveAllocated
	}
	put(itemFileParameters, itemIsRequired, le.AppendUint32(le.AppendUint32(nil, uint32(m.blockSize)), params))
	const ofDisk = itemIsRequired | itemIsVirtualDisk
	put(itemVirtualDiskSize, ofDisk, le.AppendUint64(nil, uint64(m.diskSize)))
	put(itemVirtualDiskID, ofDisk, m.diskID[:])
	put(itemLogicalSectorSize, ofDisk, le.AppendUint32(nil, uint32(m.sectorSize)))
	put(itemPhysicalSectorSize, ofDisk, le.AppendUint32(nil, uint32(m.physicalSize)))
	le.PutUint16(b[offItemCount:], uint16(n))
	return b
}
