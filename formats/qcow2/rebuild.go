package qcow2

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

// rebuildRefcounts counts all references and makes the refcounts and the copied flags
// agree: after a crash with the dirty bit set, or after an operation that failed between
// the two. It refuses if anything else is wrong with the image. The caller has the image
// to itself.
func (im *Image) rebuildRefcounts() error {
	im.released, im.waiting = nil, 0
	c := &checker{im: im, ctx: context.Background(), references: newReferences()}
	if err := im.commitAll(); err != nil {
		return err
	}
	if err := c.countAll(); err != nil {
		return err
	}
	c.countRefTable()
	if c.result.Corruptions > 0 {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, "Could not repair dirty image: %d errors beside refcounts", c.result.Corruptions)
	}
	// New refcount blocks must not go to clusters whose refcount is still to be raised.
	im.freeHint = c.clusters
	if err := c.raiseRefcounts(); err != nil {
		return err
	}
	if err := c.lowerRefcounts(); err != nil {
		return err
	}
	im.freeHint = 0
	im.suspect = false
	if err := im.settle(); err != nil {
		return err
	}
	return im.setDirty(false)
}

// raiseRefcounts makes refcounts that are too low right.
func (c *checker) raiseRefcounts() error {
	im := c.im
	for i := int64(0); i < c.clusters; i++ {
		want := uint64(c.references.get(i))
		have, err := im.refcount(i)
		if err != nil {
			return err
		}
		if have >= want {
			continue
		}
		if t, err := im.refBlock(i >> im.refBlockBits); err != nil {
			return err
		} else if t == nil {
			if err := im.coverCluster(i); err != nil {
				return err
			}
			// The new block may be what i is: then it is counted already.
			if have, err = im.refcount(i); err != nil {
				return err
			}
		}
		if err := im.addRefcount(i, 1, int64(want-have)); err != nil {
			return err
		}
		if err := im.makeRoom(); err != nil {
			return err
		}
	}
	return nil
}

// coverCluster makes the refcount block of a cluster, and what that needs.
func (im *Image) coverCluster(cluster int64) error {
	p := refPlan{im: im, runs: []clusterRun{{cluster, 1}}, next: max(cluster+1, im.freeHint), blocks: map[int64]int64{}}
	if err := p.cover(); err != nil {
		return err
	}
	p.apply()
	for _, r := range p.runs[1:] {
		if err := im.addRefcount(r.first, r.count, 1); err != nil {
			return err
		}
		im.freeHint = max(im.freeHint, r.end())
	}
	for _, r := range p.unused {
		if err := im.addRefcount(r.first, r.count, -1); err != nil {
			return err
		}
	}
	return nil
}

// lowerRefcounts frees what is counted too often.
func (c *checker) lowerRefcounts() error {
	im := c.im
	for i := int64(0); i < c.clusters; i++ {
		have, err := im.refcount(i)
		if err != nil {
			return err
		}
		want := uint64(c.references.get(i))
		if have > want {
			if err := im.addRefcount(i, 1, -int64(have-want)); err != nil {
				return err
			}
		}
		if err := im.makeRoom(); err != nil {
			return err
		}
	}
	return nil
}
