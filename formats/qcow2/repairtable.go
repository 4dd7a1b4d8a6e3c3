package qcow2

import (
	"maps"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// refLayout is where new refcount structures are to lie: behind all that is in use, first
// the blocks, then the table, as QEMU rebuilds them.
type refLayout struct {
	first  int64   // cluster
	blocks []int64 // numbers of the blocks that are needed, in order
	table  int64   // clusters of the table
}

func (l refLayout) tableCluster() int64 { return l.first + int64(len(l.blocks)) }

func (l refLayout) clusters() clusterRun {
	return clusterRun{l.first, int64(len(l.blocks)) + l.table}
}

// rebuildStructures makes a refcount table and blocks from what was counted. The header
// changes last; before that nothing in use is written.
func (c *checker) rebuildStructures() error {
	old := c.setStructuresApart()
	l, err := c.layOutRefcounts(old)
	if err != nil {
		return err
	}
	run := l.clusters()
	for i := run.first; i < run.end(); i++ {
		c.references.add(i)
	}
	im := c.im
	entries, err := im.writeStructures(l, im.refWidth, c.newRefcount(old), c.goesOn)
	if err != nil {
		return err
	}
	if err := im.switchStructures(l, entries, im.refWidth); err != nil {
		return err
	}
	c.clusters = im.clustersFor(im.file.Size())
	return nil
}

// setStructuresApart takes the references to the old structures out of what was counted.
// They stay in use until the new ones are.
func (c *checker) setStructuresApart() *references {
	old := newReferences()
	for _, r := range c.structures {
		for i := r.first; i < r.end(); i++ {
			c.references.sub(i)
			old.add(i)
		}
	}
	return old
}

// layOutRefcounts finds out which blocks are needed for what is in use and for themselves.
func (c *checker) layOutRefcounts(old *references) (refLayout, error) {
	im := c.im
	needed := map[int64]struct{}{}
	last := int64(0)
	use := func(cluster int64) {
		needed[cluster>>im.refBlockBits] = struct{}{}
		last = max(last, cluster)
	}
	c.references.each(use)
	old.each(use)
	return im.layOut(needed, last, im.refBlockBits)
}

// layOut places the needed refcount blocks, and those that count them and their table,
// behind the last cluster in use.
func (im *Image) layOut(needed map[int64]struct{}, last int64, blockBits uint) (refLayout, error) {
	l := refLayout{first: last + 1}
	for {
		l.blocks = slices.Sorted(maps.Keys(needed))
		l.table = im.clustersFor((l.blocks[len(l.blocks)-1] + 1) * 8)
		run := l.clusters()
		for b := run.first >> blockBits; b <= (run.end()-1)>>blockBits; b++ {
			needed[b] = struct{}{}
		}
		if len(needed) == len(l.blocks) {
			break
		}
	}
	if l.table > max(maxRefTableBytes/im.clusterSize, 1) {
		return l, blockdev.Errorf(blockdev.ErrLimit, "check", im.name, "The image is too long for a refcount table")
	}
	return l, nil
}

// newRefcount tells what refcounts become: what was counted. References of the old structures,
// which are dropped soon, count as far as there is room.
func (c *checker) newRefcount(old *references) func(cluster int64) (uint64, error) {
	most := c.im.refWidth.max()
	return func(cluster int64) (uint64, error) {
		n := uint64(c.references.get(cluster))
		if n > most {
			return 0, blockdev.ErrorAt(blockdev.ErrLimit, "check", c.im.name, cluster<<c.im.clusterBits,
				"Cluster %d has more references than refcounts can express", cluster)
		}
		return min(n+uint64(old.get(cluster)), most), nil
	}
}

// goesOn gives up once the caller of the check does.
func (c *checker) goesOn(int64, int64) error { return c.ctx.Err() }
