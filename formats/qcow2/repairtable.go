package qcow2

import (
	"maps"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// refLayout is where new refcount structures are to lie: behind all that is in use, first
// the table, then the blocks.
type refLayout struct {
	first  int64   // cluster
	table  int64   // clusters of the table
	blocks []int64 // numbers of the blocks that are needed, in order
}

func (l refLayout) clusters() clusterRun {
	return clusterRun{l.first, l.table + int64(len(l.blocks))}
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
	entries := make([]uint64, l.table*c.im.clusterSize/8)
	for i, b := range l.blocks {
		off := (l.first + l.table + int64(i)) << c.im.clusterBits
		if err := c.writeRefBlock(b, off, old); err != nil {
			return err
		}
		entries[b] = uint64(off)
	}
	im := c.im
	if err := im.writeDurably(l.first<<im.clusterBits, encodeEntries(entries)); err != nil {
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

// writeRefBlock writes block number b, as counted, to off. References of the old structures,
// which are dropped soon, count as far as there is room.
func (c *checker) writeRefBlock(b, off int64, old *references) error {
	im := c.im
	data := make([]byte, im.clusterSize)
	for i := range int64(1) << im.refBlockBits {
		cluster := b<<im.refBlockBits + i
		n := uint64(c.references.get(cluster))
		if n > im.refWidth.max() {
			return blockdev.ErrorAt(blockdev.ErrLimit, "check", im.name, cluster<<im.clusterBits,
				"Cluster %d has more references than refcounts can express", cluster)
		}
		if n = min(n+uint64(old.get(cluster)), im.refWidth.max()); n > 0 {
			im.refWidth.put(data, i, n)
		}
	}
	_, err := im.file.WriteAt(data, off)
	return err
}
