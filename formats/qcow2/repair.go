package qcow2

import (
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// What a check repairs, in this order, each step relying on those before:
//
//	empty storage     entries that are not aligned and have no data let go of it
//	refcounts         raised and lowered in place; or, where clusters in use count as
//	                  free, or refcount blocks are not to be trusted, made anew elsewhere
//	copied flags      made to agree with the refcounts
//	snapshot table    written anew with the fields that version 3 asks for
//	dirty, corrupt    cleared, if nothing is left that is wrong
//
// Entries of data that point nowhere or are not aligned stay as they are: what they should say
// is not known. Those of storage that was only set aside lose it.

// repairs tells if anything may be changed.
func (c *checker) repairs() bool { return c.options.RepairLeaks || c.options.RepairErrors }

// repairing reports what is being repaired.
func (c *checker) repairing(kind blockdev.FindingKind, format string, args ...any) {
	if c.options.Report != nil {
		c.options.Report(blockdev.Finding{Kind: kind, Text: "Repairing " + fmt.Sprintf(format, args...)})
	}
}

// fixable reports an error that is repaired later, where that is asked for.
func (c *checker) fixable(format string, args ...any) {
	if !c.options.RepairErrors {
		c.corrupt("ERROR "+format, args...)
		return
	}
	c.repairing(blockdev.FindingCorruption, format, args...)
	c.result.CorruptionsFixed++
}

// outsideBlock is about a refcount block behind the end of the file. Nothing can be counted
// there, so the error does no harm before the image grows that far.
func (c *checker) outsideBlock(i int) {
	c.fixable("refcount block %d is outside image", i)
	c.broken = c.broken || c.options.RepairErrors
}

// repairRefcounts acts on what compareRefcounts found: counted and before are the results
// before the refcount structures were looked at, and before they were compared.
func (c *checker) repairRefcounts(counted, before blockdev.CheckResult) error {
	c.im.packed = 0
	if !c.broken {
		if c.result.Corruptions == before.Corruptions && c.result.Leaks == before.Leaks {
			return nil
		}
		c.result = before
		if err := c.compareRefcounts(true); err != nil {
			return err
		}
		return c.im.commitAll()
	}
	if !c.options.RepairErrors {
		c.note("ERROR need to rebuild refcount structures")
		return blockdev.Errorf(blockdev.ErrCorrupt, "check", "", "Check failed: Input/output error")
	}
	c.note("Rebuilding refcount structure")
	if err := c.rebuildStructures(); err != nil {
		return err
	}
	c.result.CorruptionsFixed += c.result.Corruptions - counted.Corruptions
	c.result.LeaksFixed += c.result.Leaks
	if err := c.countAgain(); err != nil {
		return err
	}
	return c.freeOldStructures()
}

// countAgain counts everything in an image with new refcount structures. As with QEMU what is
// still wrong is reported once more.
func (c *checker) countAgain() error {
	c.result = blockdev.CheckResult{CorruptionsFixed: c.result.CorruptionsFixed, LeaksFixed: c.result.LeaksFixed}
	c.references, c.structures, c.structural = newReferences(), nil, false
	if err := c.countReferences(); err != nil {
		return err
	}
	c.countRefTable()
	return nil
}

// note reports something that counts for nothing.
func (c *checker) note(text string) {
	if c.options.Report != nil {
		c.options.Report(blockdev.Finding{Kind: blockdev.FindingError, Text: text})
	}
}

// freeOldStructures frees what held the refcounts before they were rebuilt. It counts for
// nothing: it was no leak before.
func (c *checker) freeOldStructures() error {
	saved := c.result
	err := c.compareRefcounts(true)
	c.result.CorruptionsFixed, c.result.LeaksFixed = saved.CorruptionsFixed, saved.LeaksFixed
	if err != nil {
		return err
	}
	return c.im.commitAll()
}

// repairRefcount makes a refcount what was counted, if that may be repaired.
func (c *checker) repairRefcount(cluster int64, stored, counted uint64) error {
	kind, fixed := blockdev.FindingCorruption, &c.result.CorruptionsFixed
	may := c.options.RepairErrors
	if stored > counted {
		kind, fixed, may = blockdev.FindingLeak, &c.result.LeaksFixed, true
	}
	if !may {
		c.reportRefcount(cluster, stored, counted)
		return nil
	}
	c.repairing(kind, "cluster %d refcount=%d reference=%d", cluster, stored, counted)
	if counted > c.im.refWidth.max() {
		c.report(blockdev.FindingError, "ERROR cluster %d has more references than refcounts can express", cluster)
		return nil
	}
	if err := c.im.setRefcount(cluster, counted); err != nil {
		return err
	}
	*fixed++
	return c.im.makeRoom()
}

// dropStorage makes entry i of the L2 table at off, which has storage and no data in it, one
// without.
func (c *checker) dropStorage(off, i int64) error {
	im := c.im
	if what := im.tableOverlap(off); what != "" {
		return im.markOverlap(off, what)
	}
	t, err := im.l2Cache.get(off)
	if err != nil {
		return err
	}
	e := im.entry(t, i)
	e.desc &^= entryOffset | entryCopied
	im.putEntry(t, i, e)
	return im.makeRoom()
}

// repairsCopied: flags are put right with everything else, or if they are all that is wrong.
func (c *checker) repairsCopied() bool {
	return c.options.RepairErrors || c.options.RepairLeaks && c.result.Corruptions == 0 && c.result.CheckErrors == 0
}

// wrongFlag reports a wrong copied flag and tells if it is to be changed.
func (c *checker) wrongFlag(repair bool, format string, args ...any) bool {
	if !repair {
		c.corrupt("ERROR OFLAG_COPIED "+format, args...)
		return false
	}
	c.repairing(blockdev.FindingCorruption, "OFLAG_COPIED "+format, args...)
	c.result.CorruptionsFixed++
	return true
}

// finishRepair writes everything back and, if nothing is wrong any more, says so.
func (c *checker) finishRepair() error {
	im := c.im
	if err := im.commitAll(); err != nil {
		return err
	}
	if c.incomplete && c.options.RepairErrors {
		if err := c.renewSnapshotTable(); err != nil {
			_, words := blockdev.SystemError(err)
			c.note("ERROR failed to update snapshot table: " + words)
			return blockdev.Because("Check failed", err)
		}
	}
	if c.result.Corruptions > 0 || c.result.CheckErrors > 0 {
		return nil
	}
	im.unrepaired, im.suspect = false, false
	marks := uint64(incompatCorrupt | incompatDirty)
	if im.lazy {
		marks = incompatCorrupt // what is postponed is in memory only
	}
	if im.hdr.incompatible&marks == 0 {
		return nil
	}
	return im.setFeatures(offIncompatible, &im.hdr.incompatible, im.hdr.incompatible&^marks)
}
