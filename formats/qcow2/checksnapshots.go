package qcow2

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
)

// checkSnapshotEntries: version 3 asks for extra data up to the disk size.
func (c *checker) checkSnapshotEntries() {
	for i, s := range c.im.snaps {
		if c.im.v3() && s.extraSize < snapshotExtraV3 {
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

// countBitmaps counts the clusters of persistent bitmaps, if the image says that they are
// consistent.
func (c *checker) countBitmaps() error {
	if !c.im.hdr.hasBitmaps() {
		return nil
	}
	list, err := c.im.readBitmaps()
	if errors.Is(err, blockdev.ErrCorrupt) {
		c.corrupt("ERROR %s", blockdev.Message(err))
		return nil
	}
	if err != nil {
		return err
	}
	off, size, _ := c.im.bitmapDirectory()
	c.count(off, size)
	for _, b := range list {
		if err := c.countBitmap(b); err != nil {
			return err
		}
	}
	return nil
}

// countBitmap counts the clusters of a bitmap.
func (c *checker) countBitmap(b bitmapEntry) error {
	if b.entries*8 > maxBitmapTable || !validTable(b.table, b.entries*8, c.im.clusterSize) {
		c.corrupt("ERROR bitmap table at %#x of %d entries is invalid", b.table, b.entries)
		return nil
	}
	c.count(b.table, b.entries*8)
	inFile := max(c.im.file.Size()-b.table+7, 0) / 8
	table, err := c.im.readEntries(b.table, min(b.entries, inFile))
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
