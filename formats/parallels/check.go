package parallels

import (
	"context"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// Check finds images that were not closed, clusters outside of the file, and space behind
// the last cluster. Repairing errors takes such clusters out of the table, repairing leaks
// cuts the file off.
func (im *Image) Check(ctx context.Context, o blockdev.CheckOptions) (blockdev.CheckResult, error) {
	if o.RepairErrors || o.RepairLeaks {
		if err := im.CheckWritable("check"); err != nil {
			return blockdev.CheckResult{}, err
		}
	}
	c := &checker{im: im, options: o}
	err := im.Exclusive(func() error {
		if err := c.checkInUse(); err != nil {
			return err
		}
		if err := c.checkTable(ctx); err != nil {
			return err
		}
		if err := c.checkEnd(); err != nil || !o.RepairErrors && !o.RepairLeaks {
			return err
		}
		end, err := im.end(ctx)
		if err == nil {
			im.SetEnd(end, nil)
		}
		return err
	})
	return c.result, err
}

type checker struct {
	im      *Image
	options blockdev.CheckOptions
	result  blockdev.CheckResult
}

// report tells of a finding that was repaired, or not.
func (c *checker) report(kind blockdev.FindingKind, repaired bool, format string, args ...any) {
	what := "ERROR"
	if repaired {
		what = "Repairing"
	}
	if c.options.Report != nil {
		c.options.Report(blockdev.Finding{Kind: kind, Text: what + " " + fmt.Sprintf(format, args...)})
	}
}

// corruption counts and reports one.
func (c *checker) corruption(format string, args ...any) {
	if c.options.RepairErrors {
		c.result.CorruptionsFixed++
	} else {
		c.result.Corruptions++
	}
	c.report(blockdev.FindingCorruption, c.options.RepairErrors, format, args...)
}

func (c *checker) checkInUse() error {
	if !c.im.header.inUse {
		return nil
	}
	c.corruption("image was not closed correctly")
	if !c.options.RepairErrors {
		return nil
	}
	// The table may be damaged still, but nobody else has it: the flag goes when the rest
	// is repaired.
	defer func() { c.im.header.inUse = false }()
	return c.im.setInUse(notInUse)
}

// checkTable looks for clusters that begin behind the end of the file.
func (c *checker) checkTable(ctx context.Context) error {
	im, size := c.im, c.im.file.Size()
	end, previous := im.header.data, int64(0)
	c.result.TotalClusters = im.header.entries
	err := im.table.Scan(ctx, im.file, func(i int64, e uint64) error {
		if e == 0 {
			previous = 0
			return nil
		}
		at := int64(e) * im.header.unit
		if at > size {
			c.corruption("cluster %d is outside image", i)
			if c.options.RepairErrors {
				previous = 0
				_, err := im.file.WriteAt(make([]byte, entryBytes), headerBytes+i*entryBytes)
				return err
			}
		}
		c.result.AllocatedClusters++
		if previous != 0 && at != previous+im.header.clusterSize {
			c.result.FragmentedClusters++
		}
		previous = at
		end = max(end, at+im.header.clusterSize)
		return nil
	})
	c.result.ImageEndOffset = end
	if c.options.RepairErrors {
		im.Reload()
	}
	return err
}

// checkEnd looks for what is behind the last cluster.
func (c *checker) checkEnd() error {
	im := c.im
	size := (im.file.Size() + sectorSize - 1) / sectorSize * sectorSize
	leaked := size - c.result.ImageEndOffset
	if leaked <= 0 {
		return nil
	}
	clusters := (leaked + im.header.clusterSize - 1) / im.header.clusterSize
	c.report(blockdev.FindingLeak, c.options.RepairLeaks, "space leaked at the end of the image %d", leaked)
	if !c.options.RepairLeaks {
		c.result.Leaks = clusters
		return nil
	}
	if err := blockdev.Resize(im.file, c.result.ImageEndOffset, blockdev.ResizeOptions{Shrink: true}); err != nil {
		return err
	}
	c.result.LeaksFixed = clusters
	return nil
}
