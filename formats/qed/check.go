package qed

import (
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
)

// maxCheckedClusters bounds the set of clusters that a check keeps, to 256 MiB.
const maxCheckedClusters = 1 << 31

// Check walks the tables: each cluster is to be referred to once, and to be in the file.
// Repairing takes entries away that are wrong, of both kinds of table. What is referred to
// twice stays, as nobody knows whose it is; leaks stay, too, as in QEMU. QEMU reports
// nothing but numbers, and so do we.
func (im *Image) Check(ctx context.Context, o blockdev.CheckOptions) (blockdev.CheckResult, error) {
	c := &checker{im: im, repair: o.RepairErrors || o.RepairLeaks}
	if c.repair {
		if err := im.CheckWritable("check"); err != nil {
			return blockdev.CheckResult{}, err
		}
	}
	clusters := im.file.Size() / im.header.clusterSize
	if clusters > maxCheckedClusters {
		return blockdev.CheckResult{}, blockdev.Errorf(blockdev.ErrLimit, "check", im.name, "more than %d clusters", maxCheckedClusters)
	}
	c.used = bat.NewSet(clusters)
	c.result.TotalClusters = im.Blocks()
	err := im.Exclusive(func() error { return c.run(ctx) })
	return c.result, err
}

type checker struct {
	im       *Image
	repair   bool
	used     bat.Set // clusters
	count    int64   // of them
	previous int64   // cluster of data
	result   blockdev.CheckResult
}

// add notes a reference to n bytes and tells if it is the first to all of them. Each cluster
// that has one already is a corruption.
func (c *checker) add(off, n int64) bool {
	cs := c.im.header.clusterSize
	first := true
	for i := off / cs; i < (off+n)/cs; i++ {
		if c.used.Add(i) {
			c.count++
		} else {
			first = false
			c.corruption(false)
		}
	}
	return first
}

func (c *checker) corruption(fixed bool) {
	if fixed {
		c.result.CorruptionsFixed++
	} else {
		c.result.Corruptions++
	}
}

func (c *checker) run(ctx context.Context) error {
	h := c.im.header
	clusters := c.im.file.Size() / h.clusterSize
	c.add(0, h.dataStart())
	c.add(h.l1, h.tableBytes())
	if err := c.checkL1(ctx); err != nil {
		return err
	}
	if c.count < clusters {
		c.result.Leaks = clusters - c.count
	}
	if !c.repair {
		return nil
	}
	c.im.Reload()
	if c.result.Corruptions > 0 || h.features&featureNeedCheck == 0 {
		return c.im.file.Flush()
	}
	return c.im.setNeedCheck(false)
}

func (c *checker) checkL1(ctx context.Context) error {
	im, h := c.im, c.im.header
	return im.table.Scan(ctx, im.file, func(i int64, e uint64) error {
		if e == 0 {
			return nil
		}
		if !im.isPlace(e, h.tableBytes()) {
			return c.drop(h.l1 + i*entryBytes)
		}
		if !c.add(int64(e), h.tableBytes()) {
			return nil // it is looked at already: an image must not make endless work
		}
		return c.checkL2(ctx, int64(e))
	})
}

func (c *checker) checkL2(ctx context.Context, off int64) error {
	im, h := c.im, c.im.header
	t := bat.Table{Offset: off, Entries: h.entries(), Width: entryBytes, Order: im.table.Order}
	return t.Scan(ctx, im.file, func(i int64, e uint64) error {
		if e == entryUnallocated || e == entryZero {
			return nil
		}
		if !im.isPlace(e, h.clusterSize) {
			if !c.repair {
				c.allocated(int64(e))
			}
			return c.drop(off + i*entryBytes)
		}
		c.allocated(int64(e))
		c.add(int64(e), h.clusterSize)
		return nil
	})
}

// allocated counts a cluster of data, and if it lies apart from the one before.
func (c *checker) allocated(off int64) {
	c.result.AllocatedClusters++
	if c.previous != 0 && off != c.previous+c.im.header.clusterSize {
		c.result.FragmentedClusters++
	}
	c.previous = off
}

// drop counts an entry that is wrong, and takes it out of its table if that is asked for.
func (c *checker) drop(at int64) error {
	c.corruption(c.repair)
	if !c.repair {
		return nil
	}
	_, err := c.im.file.WriteAt(make([]byte, entryBytes), at)
	return err
}
