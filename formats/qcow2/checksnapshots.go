package qcow2

import "encoding/binary"

// checkSnapshotEntries: version 3 asks for extra data up to the disk size.
func (c *checker) checkSnapshotEntries() {
	for i, s := range c.im.snaps {
		if c.im.version >= 3 && s.extraSize < snapshotExtraV3 {
			c.incomplete = true
			c.fixable("snapshot table entry %d is incomplete", i)
		}
	}
}

// countSnapshots counts what the snapshots refer to, and their table.
func (c *checker) countSnapshots() error {
	for _, s := range c.im.snaps {
		if s.l1Offset&(c.im.clusterSize-1) != 0 {
			c.corrupt("ERROR snapshot %s (%s) l1_offset=%#x: L1 table is not cluster aligned; snapshot table entry corrupted", s.id, s.name, s.l1Offset)
			continue
		}
		if int64(s.l1Size) > maxL1Bytes/8 {
			c.corrupt("ERROR snapshot %s (%s) l1_size=%#x: L1 table is too large; snapshot table entry corrupted", s.id, s.name, s.l1Size)
			continue
		}
		l1, err := c.im.readL1(s)
		if err != nil {
			return err
		}
		c.count(s.l1Offset, int64(s.l1Size)*8)
		if err := c.countL1(s.l1Offset, l1, false); err != nil {
			return err
		}
	}
	c.count(c.im.hdr.snapshotsOffset, c.im.snapshotBytes)
	return nil
}

// Offsets in the bitmaps extension and in a bitmap directory entry, section "Bitmaps".
const (
	bitmapsExtensionSize  = 24
	bitmapsDirectorySize  = 8
	bitmapsDirectoryStart = 16
	bitmapTableOffset     = 0
	bitmapTableEntries    = 8
	bitmapNameSize        = 18
	bitmapExtraSize       = 20
	bitmapEntrySize       = 24
	// maxBitmapDirectory and maxBitmapTable are QEMU's: 65535 bitmaps with the longest
	// names, and a table as long as an L1 table may be.
	maxBitmapDirectory = 65535 * (bitmapEntrySize + maxBackingName + 1)
	maxBitmapTable     = maxL1Bytes
)

// countBitmaps counts the clusters of persistent bitmaps, if the image says that they are
// consistent.
func (c *checker) countBitmaps() error {
	ext := c.im.hdr.extensionData(extBitmaps)
	if c.im.hdr.autoclear&autoclearBitmaps == 0 || len(ext) < bitmapsExtensionSize {
		return nil
	}
	size := int64(binary.BigEndian.Uint64(ext[bitmapsDirectorySize:]))
	off := int64(binary.BigEndian.Uint64(ext[bitmapsDirectoryStart:]))
	if size <= 0 || size > maxBitmapDirectory || !validTable(off, size, c.im.clusterSize) {
		c.corrupt("ERROR bitmap directory at %#x of %#x bytes is invalid", off, size)
		return nil
	}
	c.count(off, size)
	dir := make([]byte, size)
	if err := readPadded(c.im.file, dir, off); err != nil {
		return err
	}
	for len(dir) >= bitmapEntrySize {
		n := bitmapEntrySize + int64(binary.BigEndian.Uint32(dir[bitmapExtraSize:])) + int64(binary.BigEndian.Uint16(dir[bitmapNameSize:]))
		if err := c.countBitmap(dir); err != nil {
			return err
		}
		dir = dir[min((n+7)&^7, int64(len(dir))):]
	}
	return nil
}

// countBitmap counts the clusters of the bitmap that a directory entry describes.
func (c *checker) countBitmap(entry []byte) error {
	off := int64(binary.BigEndian.Uint64(entry[bitmapTableOffset:]))
	n := int64(binary.BigEndian.Uint32(entry[bitmapTableEntries:]))
	if n*8 > maxBitmapTable || !validTable(off, n*8, c.im.clusterSize) {
		c.corrupt("ERROR bitmap table at %#x of %d entries is invalid", off, n)
		return nil
	}
	c.count(off, n*8)
	table, err := c.im.readEntries(off, n)
	if err != nil {
		return err
	}
	for _, e := range table {
		if host := int64(e & entryOffset); host != 0 {
			c.count(host, c.im.clusterSize)
		}
	}
	return nil
}
