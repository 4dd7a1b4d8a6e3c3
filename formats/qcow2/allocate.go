package qcow2

import "github.com/qmon/qmon/blockdev"

// clusterRun is a run of host clusters.
type clusterRun struct{ first, count int64 }

func (r clusterRun) end() int64 { return r.first + r.count }

// allocate finds up to want free clusters in a row, at least one, or with exact all of
// them, and sets their refcounts to 1. mu is held. The clusters are not on disk as used
// before the next commit, and nothing on disk may refer to them before that. what is
// QEMU's name for their use, where it has one, for the error if they are the header's.
func (im *Image) allocate(what string, want int64, exact bool) (clusterRun, error) {
	im.raise(blockdev.EventClusterAlloc)
	if want == 0 {
		return clusterRun{}, nil // the table of an empty disk
	}
	run, err := im.findFree(im.freeHint, want, exact)
	if err != nil {
		return clusterRun{}, err
	}
	switch {
	case run.first == 0 && what != "":
		return clusterRun{}, im.markCorrupt(0, "Preventing invalid allocation of %s at offset 0", what)
	case run.first == 0:
		return clusterRun{}, im.markOverlap(0, "qcow2_header")
	}
	refused := im.checkInactive()
	if hit := im.metadataAt(run.first<<im.clusterBits, run.count<<im.clusterBits); hit != "" && refused == nil {
		return clusterRun{}, im.markOverlap(run.first<<im.clusterBits, hit)
	}
	if err := im.takeClusters(run); err != nil {
		return clusterRun{}, err
	}
	if refused != nil {
		// The refcounts have changed, and cannot be written: flushing says so, too.
		im.giveBack(run)
		return clusterRun{}, refused
	}
	if !exact || run.first == im.freeHint {
		im.freeHint = run.end()
	}
	return run, nil
}

// findFree looks for free clusters at from or behind it. What no refcount block covers
// is free.
func (im *Image) findFree(from, want int64, exact bool) (clusterRun, error) {
	limit := int64(maxHostOffset) >> im.clusterBits
	mask := int64(1)<<im.refBlockBits - 1
	run := clusterRun{first: from}
	for c := from; c < limit; {
		t, err := im.refBlock(c >> im.refBlockBits)
		if err != nil {
			return clusterRun{}, err
		}
		for next := (c | mask) + 1; c < next; c++ {
			if t == nil || im.refWidth.get(t.data, c&mask) == 0 {
				run.count++
				if run.count == want {
					return run, nil
				}
				continue
			}
			if run.count > 0 && !exact {
				return run, nil
			}
			run = clusterRun{first: c + 1}
		}
	}
	return clusterRun{}, blockdev.Errorf(blockdev.ErrNoSpace, "write", im.name, "File too large")
}

// takeClusters sets the refcounts of free clusters to 1, and makes the refcount blocks
// that cover them, and a larger refcount table, where they are missing. The new blocks
// lie behind the run; they are counted by each other and by themselves.
func (im *Image) takeClusters(run clusterRun) error {
	p := refPlan{im: im, runs: []clusterRun{run}, next: run.end(), blocks: map[int64]int64{}}
	if err := p.cover(); err != nil {
		return err
	}
	p.apply()
	for _, r := range p.runs {
		if err := im.addRefcount(r.first, r.count, 1); err != nil {
			return err
		}
	}
	for _, r := range p.unused {
		im.giveBack(r)
	}
	return nil
}

// refPlan collects what must be allocated so that some runs can be counted.
type refPlan struct {
	im     *Image
	runs   []clusterRun    // to be counted
	next   int64           // where to look for more clusters
	blocks map[int64]int64 // refcount block number -> its cluster
	order  []int64         // keys of blocks
	move   *refTableMove
	unused []clusterRun // of runs: tables that were planned too small
}

// cover adds blocks until every run, those of the new blocks included, is covered.
func (p *refPlan) cover() error {
	for i := 0; i < len(p.runs); i++ {
		r := p.runs[i]
		for b := r.first >> p.im.refBlockBits; b <= (r.end()-1)>>p.im.refBlockBits; b++ {
			if err := p.coverBlock(b); err != nil {
				return err
			}
		}
	}
	return nil
}

func (p *refPlan) coverBlock(b int64) error {
	if b >= p.tableEntries() {
		if err := p.growTable(b); err != nil {
			return err
		}
	}
	if _, planned := p.blocks[b]; planned {
		return nil
	}
	if b < int64(len(p.im.refs.entries)) && p.im.refs.entries[b]&refBlockOffsetMask != 0 {
		return nil
	}
	r, err := p.take(1)
	if err != nil {
		return err
	}
	p.blocks[b] = r.first
	p.order = append(p.order, b)
	return nil
}

// take plans a run of exactly n clusters behind all others.
func (p *refPlan) take(n int64) (clusterRun, error) {
	r, err := p.im.findFree(p.next, n, true)
	if err != nil {
		return clusterRun{}, err
	}
	p.next = r.end()
	p.runs = append(p.runs, r)
	return r, nil
}

// tableEntries is how many entries the refcount table will have.
func (p *refPlan) tableEntries() int64 {
	if p.move != nil {
		return p.move.clusters << (p.im.clusterBits - 3)
	}
	return int64(len(p.im.refs.entries))
}

// growTable plans a refcount table that has room for entry b and half as much again, so
// that growing is rare.
func (p *refPlan) growTable(b int64) error {
	perCluster := p.im.clusterSize / 8
	want := max(b+1+b/2, p.tableEntries()*3/2)
	clusters := (want + perCluster - 1) / perCluster
	limit := max(maxRefTableBytes/p.im.clusterSize, 1)
	if clusters > limit {
		clusters = limit
	}
	if b >= clusters*perCluster {
		return blockdev.Errorf(blockdev.ErrNoSpace, "write", p.im.name, "File too large")
	}
	r, err := p.take(clusters)
	if err != nil {
		return err
	}
	if p.move != nil {
		p.unused = append(p.unused, clusterRun{p.move.off >> p.im.clusterBits, p.move.clusters})
	}
	p.move = &refTableMove{off: r.first << p.im.clusterBits, clusters: clusters}
	return nil
}

// apply makes the plan real in memory; the next commit brings it to the file.
func (p *refPlan) apply() {
	im := p.im
	if p.move != nil {
		if old := im.refs.move; old != nil && !old.begun {
			// The table has grown twice between two commits: the first place was never used.
			im.release(old.off>>im.clusterBits, old.clusters, 1, discardOther)
		}
		grown := make([]uint64, p.tableEntries())
		copy(grown, im.refs.entries)
		im.refs.entries = grown
		im.refs.move = p.move
		im.raise(blockdev.EventReftableGrow)
		im.raise(blockdev.EventRefblockAllocWriteBlocks)
	}
	for _, b := range p.order {
		off := p.blocks[b] << im.clusterBits
		im.raise(blockdev.EventRefblockAllocWrite)
		im.refCache.create(off)
		im.refs.entries[b] = uint64(off)
		im.refs.dirty[int(b)] = struct{}{}
	}
}

// discardReason says whose clusters are freed, and so if the host hears of it.
type discardReason uint8

const (
	discardOther    discardReason = iota // tables, copies on write
	discardRequest                       // a guest's discard
	discardSnapshot                      // a deleted snapshot
	discardShrink                        // what lies behind the end of a disk made smaller
)

// releasedRun is a run of clusters of which some references were dropped in memory, but
// perhaps not on disk yet.
type releasedRun struct {
	clusterRun
	refs   int64
	reason discardReason
}

// release drops refs references to each of count clusters. The refcounts follow after the
// next commit, when the file no longer refers to them.
func (im *Image) release(first, count, refs int64, reason discardReason) {
	if count == 0 {
		return
	}
	im.closePacked(clusterRun{first, count})
	im.waiting += count
	if n := len(im.released); n > 0 {
		last := &im.released[n-1]
		if last.end() == first && last.refs == refs && last.reason == reason {
			last.count += count
			return
		}
	}
	im.released = append(im.released, releasedRun{clusterRun{first, count}, refs, reason})
}

// hoards tells if so much waits to be free that it should be, before others have the file
// grow: more than maxWaiting, and than a part of the file.
func (im *Image) hoards() bool {
	return im.waiting<<im.clusterBits > max(maxWaiting, im.file.Size()/maxWaitingPart)
}

const (
	maxWaiting     = 16 << 20 // bytes
	maxWaitingPart = 256
)

// giveBack undoes an allocate whose clusters were never referred to.
func (im *Image) giveBack(run clusterRun) {
	im.closePacked(run)
	if im.addRefcount(run.first, run.count, -1) == nil {
		im.freeHint = min(im.freeHint, run.first)
	}
}
