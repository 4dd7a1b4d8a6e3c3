package qcow2

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// readSnapshotTable is about a table that was not read when the image was opened. What is
// beyond its limits is left out, where errors are repaired.
func (c *checker) readSnapshotTable() error {
	im := c.im
	fault := im.snapshotFault
	if fault == nil {
		return nil
	}
	text, number := "failed to read the snapshot table: "+blockdev.Message(fault), syscall.EFBIG
	switch {
	case !validTable(im.hdr.snapshotsOffset, 0, im.clusterSize):
		text, number = "snapshot table offset invalid", syscall.EINVAL
	case !errors.Is(fault, blockdev.ErrLimit):
		return fault
	case c.options.RepairErrors:
		return c.cutSnapshotTable()
	case im.hdr.snapshotCount > maxSnapshots:
		text = blockdev.Message(fault)
	}
	return blockdev.Because("Check failed", blockdev.Errorf(&refusal{blockdev.ErrCorrupt, number}, "check", im.name, "ERROR %s", text))
}

// cutSnapshotTable reads a table that is too large without what is too much. Snapshots that
// are left out are forgotten at once; the entries are written anew in the end.
func (c *checker) cutSnapshotTable() error {
	im := c.im
	discard := func(n int64, format string, args ...any) {
		c.result.CorruptionsFixed += n
		if c.options.Report != nil {
			c.options.Report(blockdev.Finding{Kind: blockdev.FindingCorruption, Text: "Discarding " + fmt.Sprintf(format, args...)})
		}
	}
	if err := im.loadSnapshots(discard); err != nil {
		return err
	}
	im.snapshotFault = nil
	for _, s := range im.snaps {
		c.incomplete = c.incomplete || s.cut > 0
	}
	left := uint32(len(im.snaps))
	if left == im.hdr.snapshotCount {
		return nil
	}
	if err := im.setSnapshotTable(left, im.hdr.snapshotsOffset); err != nil {
		return err
	}
	im.hdr.snapshotCount = left
	return nil
}

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
	c.uncounted = !c.count(c.im.hdr.snapshotsOffset, c.im.snapshotBytes)
	return nil
}

// renewSnapshotTable writes the table with the fields that version 3 asks for.
func (c *checker) renewSnapshotTable() error {
	im := c.im
	if c.uncounted {
		im.snapshotBytes = 0 // where it was is free already
	}
	if err := im.writeSnapshotTable(im.snaps); err != nil {
		return err
	}
	for _, s := range im.snaps {
		s.extraSize, s.cut = max(s.extraSize, snapshotExtraV3), 0
	}
	return im.commitAll()
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
