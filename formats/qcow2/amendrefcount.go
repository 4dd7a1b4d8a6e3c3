package qcow2

import (
	"github.com/qmon/qmon/blockdev"
)

// changeRefWidth makes new refcount structures, with entries of another width, behind all
// that is in use. The header changes last, in one sector: before that the image is as it
// was, afterwards the old structures are free.
func (im *Image) changeRefWidth(a *amendment, w refWidth) error {
	if w == im.refWidth {
		return nil
	}
	if err := im.commitAll(); err != nil {
		return err
	}
	blockBits := w.blockBits(im.clusterBits)
	needed, last, err := im.blocksNeeded(w, blockBits)
	if err != nil {
		return err
	}
	l, err := im.layOut(needed, last, blockBits)
	if err != nil {
		return err
	}
	run := l.clusters()
	if what := im.metadataAt(run.first<<im.clusterBits, run.count<<im.clusterBits); what != "" {
		return im.markOverlap(run.first<<im.clusterBits, what)
	}
	counts := func(cluster int64) (uint64, error) {
		if cluster >= run.first && cluster < run.end() {
			return 1, nil
		}
		return im.refcount(cluster)
	}
	step := func(done, total int64) error {
		a.progress(done, total)
		return a.ctx.Err()
	}
	entries, err := im.writeStructures(l, w, counts, step)
	if err != nil {
		return err
	}
	old := im.structures()
	if err := im.switchStructures(l, entries, w); err != nil {
		return err
	}
	for _, r := range old {
		im.release(r.first, r.count, 1, discardOther)
	}
	return im.commitAll()
}

// blocksNeeded lists the refcount blocks that the clusters in use need, and tells the last
// of those clusters.
func (im *Image) blocksNeeded(w refWidth, blockBits uint) (needed map[int64]struct{}, last int64, err error) {
	needed = map[int64]struct{}{0: {}} // the header's, whatever its refcount
	for b := range im.refs.entries {
		t, err := im.refBlock(int64(b))
		if err != nil {
			return nil, 0, err
		}
		if t == nil {
			continue
		}
		for i := range int64(1) << im.refBlockBits {
			n := im.refWidth.get(t.data, i)
			if n == 0 {
				continue
			}
			last = int64(b)<<im.refBlockBits + i
			if n > w.max() {
				return nil, 0, blockdev.ErrorAt(blockdev.ErrInvalid, "amend", im.name, last<<im.clusterBits,
					"Cannot decrease refcount entry width to %d bits: Cluster at offset %#x has a refcount of %d",
					1<<w, last<<im.clusterBits, n)
			}
			needed[last>>blockBits] = struct{}{}
		}
		im.refCache.trim()
	}
	return needed, last, nil
}

// structures are the clusters of the refcount table and its blocks.
func (im *Image) structures() []clusterRun {
	list := []clusterRun{{im.hdr.refTableOffset >> im.clusterBits, int64(im.hdr.refTableClusters)}}
	for _, e := range im.refs.entries {
		if off := int64(e & refBlockOffsetMask); off != 0 {
			list = append(list, clusterRun{off >> im.clusterBits, 1})
		}
	}
	return list
}

// writeStructures writes the blocks and the table of a layout, durably, with refcounts of
// width w, and returns the table. step is called after each block with how many there are.
func (im *Image) writeStructures(l refLayout, w refWidth, counts func(cluster int64) (uint64, error), step func(done, total int64) error) ([]uint64, error) {
	blockBits := w.blockBits(im.clusterBits)
	entries := make([]uint64, l.table*im.clusterSize/8)
	for i, b := range l.blocks {
		data := make([]byte, im.clusterSize)
		for j := range int64(1) << blockBits {
			n, err := counts(b<<blockBits + j)
			if err != nil {
				return nil, err
			}
			if n > 0 {
				w.put(data, j, n)
			}
		}
		off := (l.first + int64(i)) << im.clusterBits
		if _, err := im.file.WriteAt(data, off); err != nil {
			return nil, err
		}
		im.refCache.trim()
		entries[b] = uint64(off)
		if err := step(int64(i+1), int64(len(l.blocks))); err != nil {
			return nil, err
		}
	}
	return entries, im.writeDurably(l.tableCluster()<<im.clusterBits, encodeEntries(entries))
}

// switchStructures makes the header point to new refcount structures, and says how wide
// their entries are: fields of one sector, so they change together.
func (im *Image) switchStructures(l refLayout, entries []uint64, w refWidth) error {
	h := *im.hdr
	h.refTableOffset, h.refTableClusters, h.refcountOrder = l.tableCluster()<<im.clusterBits, uint32(l.table), uint32(w)
	from, to := int64(offRefTableOffset), int64(offRefTableClusters+4)
	if h.version >= 3 {
		to = offRefcountOrder + 4
	}
	if err := im.changeHeader(from, h.encodeFixed()[from:to]); err != nil {
		return err
	}
	*im.hdr = h
	im.refs = refTable{entries: entries, dirty: map[int]struct{}{}}
	im.refCache.reset()
	im.refWidth, im.refBlockBits = w, w.blockBits(im.clusterBits)
	im.freeHint = 0
	return nil
}
