package qcow2

import (
	"encoding/binary"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// fileWrite is a piece of metadata on its way to the file.
type fileWrite struct {
	off  int64
	data []byte
}

// tableWrite is a copy of a table's dirty bytes.
type tableWrite struct {
	fileWrite
	cache *tableCache
	table *table
	lo    int
}

// writeBack is everything one commit brings to the file: copies, so that the metadata can
// be used and changed while they are written.
type writeBack struct {
	refBlocks  []tableWrite
	refEntries []int         // indices of the refcount table
	refWrites  []fileWrite   // refEntries, or the whole table if it moves
	move       *refTableMove // the refcount table's new place
	l2         []tableWrite
	l1Entries  []int
	l1Writes   []fileWrite
	released   []releasedRun
	refused    error // why none of it may be written, or nil
}

// commit writes back all metadata, in the order that the package comment gives, and makes
// it and all completed data writes durable.
func (im *Image) commit() error {
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.mu.Lock()
	if err := im.settleHeader(); err != nil {
		im.mu.Unlock()
		return err
	}
	w := im.collect()
	im.mu.Unlock()
	err := im.run(w)
	if err == nil {
		im.mu.RLock()
		free := im.lastReferences(w.released)
		im.mu.RUnlock()
		im.discardClusters(free)
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	return im.finish(w, err)
}

// commitLocked is commit for those who hold commitMu and mu.
func (im *Image) commitLocked() error {
	if err := im.settleHeader(); err != nil {
		return err
	}
	w := im.collect()
	err := im.run(w)
	if err == nil {
		im.discardClusters(im.lastReferences(w.released))
	}
	return im.finish(w, err)
}

// commitAll repeats commitLocked until nothing is left: freeing makes refcount blocks
// dirty again.
func (im *Image) commitAll() error {
	for {
		if err := im.commitLocked(); err != nil {
			return err
		}
		if !im.unwritten() {
			return nil
		}
	}
}

// unwritten tells if the file lacks metadata that a commit would bring.
func (im *Image) unwritten() bool {
	return len(im.released) > 0 || len(im.l2Cache.dirty) > 0 || len(im.l1.dirty) > 0 ||
		im.refs.move != nil || !im.postponed() && (len(im.refCache.dirty) > 0 || len(im.refs.dirty) > 0)
}

// postponed tells if refcounts need not be written now: they are lazy, and since the dirty
// bit is set they would be rebuilt after a crash.
func (im *Image) postponed() bool { return im.lazy && im.hdr.incompatible&incompatDirty != 0 }

// collect takes copies of what is dirty and marks it clean. mu is held.
func (im *Image) collect() *writeBack {
	w := im.collectRefcounts()
	w.l2 = im.l2Cache.collect()
	w.l1Entries = takeKeys(im.l1.dirty)
	w.l1Writes = entryWrites(im.l1.off, im.l1.entries, w.l1Entries)
	w.released = im.released
	im.released, im.waiting = nil, 0
	return w
}

// collectRefcounts is collect for refcount blocks and table alone.
func (im *Image) collectRefcounts() *writeBack {
	w := &writeBack{move: im.refs.move}
	if im.unwritten() {
		w.refused = im.checkInactive()
	}
	counted := im.tablesCounted
	im.tablesCounted = nil
	if im.postponed() && w.move == nil && !im.refCache.crowded() {
		if len(im.refs.dirty) == 0 {
			w.refBlocks = counted
		}
		return w
	}
	w.refBlocks = im.refCache.collect()
	w.refEntries = takeKeys(im.refs.dirty)
	if w.move != nil {
		w.move.begun = true
		w.refWrites = []fileWrite{{w.move.off, encodeEntries(im.refs.entries)}}
	} else {
		w.refWrites = entryWrites(im.hdr.refTableOffset, im.refs.entries, w.refEntries)
	}
	return w
}

// countTables has the next commit write the refcounts as they are now, with that of a new
// L2 table, although they are postponed: so after a crash the tables at least are counted,
// as in QEMU.
func (im *Image) countTables() {
	if im.postponed() && len(im.refs.dirty) == 0 {
		im.tablesCounted = im.refCache.copyDirty()
	}
}

// collect is copyDirty, after which the tables count as clean.
func (c *tableCache) collect() []tableWrite {
	out := c.copyDirty()
	for t := range c.dirty {
		t.lo, t.hi, t.writing = 0, 0, true
	}
	clear(c.dirty)
	return out
}

// copyDirty takes copies of the dirty bytes of all dirty tables, in file order.
func (c *tableCache) copyDirty() []tableWrite {
	out := make([]tableWrite, 0, len(c.dirty))
	for t := range c.dirty {
		data := slices.Clone(t.data[t.lo:t.hi])
		out = append(out, tableWrite{fileWrite{t.off + int64(t.lo), data}, c, t, t.lo})
	}
	slices.SortFunc(out, func(a, b tableWrite) int {
		if a.off < b.off {
			return -1
		}
		return 1
	})
	return out
}

// takeKeys empties a set and returns its sorted members.
func takeKeys(set map[int]struct{}) []int {
	keys := make([]int, 0, len(set))
	for k := range set {
		keys = append(keys, k)
	}
	clear(set)
	slices.Sort(keys)
	return keys
}

// entryWrites encodes entries of a table at off, neighbours in one write.
func entryWrites(off int64, entries []uint64, dirty []int) []fileWrite {
	var out []fileWrite
	for i, k := range dirty {
		b := binary.BigEndian.AppendUint64(nil, entries[k])
		if i > 0 && dirty[i-1] == k-1 {
			last := &out[len(out)-1]
			last.data = append(last.data, b...)
			continue
		}
		out = append(out, fileWrite{off + int64(k)*8, b})
	}
	return out
}

func encodeEntries(entries []uint64) []byte {
	b := make([]byte, 0, len(entries)*8)
	for _, e := range entries {
		b = binary.BigEndian.AppendUint64(b, e)
	}
	return b
}

// run does the I/O of a commit. No lock but commitMu is needed.
func (im *Image) run(w *writeBack) error {
	if err := im.checkWritable("flush"); err != nil {
		return err
	}
	if w.refused != nil {
		return w.refused
	}
	if err := im.writeTables(w.refBlocks, blockdev.EventRefblockUpdatePart); err != nil {
		return err
	}
	if len(w.refWrites) > 0 {
		// Blocks before the table that points to them.
		if err := im.file.Flush(); err != nil {
			return err
		}
		event := blockdev.EventRefblockAllocHookup
		if w.move != nil {
			im.raise(event) // new blocks are among what the table is written with
			event = blockdev.EventRefblockAllocWriteTable
		}
		if err := im.writeAll(w.refWrites, event); err != nil {
			return err
		}
	}
	if w.move != nil {
		if err := im.moveRefTable(w.move); err != nil {
			return err
		}
	}
	// Data and refcounts before the L2 tables that refer to them.
	if err := im.flushData(); err != nil {
		return err
	}
	if err := im.file.Flush(); err != nil || len(w.l2) == 0 && len(w.l1Writes) == 0 {
		return err
	}
	if err := im.writeTables(w.l2, blockdev.EventL2Update); err != nil {
		return err
	}
	if len(w.l1Writes) > 0 {
		if err := im.file.Flush(); err != nil {
			return err
		}
		if err := im.writeAll(w.l1Writes, blockdev.EventL1Update); err != nil {
			return err
		}
	}
	return im.file.Flush()
}

// moveRefTable makes the header point to the refcount table's new place. Offset and
// length are neighbours in one sector, so they change together.
func (im *Image) moveRefTable(m *refTableMove) error {
	if err := im.file.Flush(); err != nil {
		return err
	}
	var b [12]byte
	binary.BigEndian.PutUint64(b[:], uint64(m.off))
	binary.BigEndian.PutUint32(b[8:], uint32(m.clusters))
	im.raise(blockdev.EventRefblockAllocSwitchTable)
	_, err := im.file.WriteAt(b[:], offRefTableOffset)
	return err
}

func (im *Image) writeTables(list []tableWrite, e blockdev.Event) error {
	for _, w := range list {
		im.raise(e)
		if _, err := im.file.WriteAt(w.data, w.off); err != nil {
			return err
		}
	}
	return nil
}

func (im *Image) writeAll(list []fileWrite, e blockdev.Event) error {
	for _, w := range list {
		im.raise(e)
		if _, err := im.file.WriteAt(w.data, w.off); err != nil {
			return err
		}
	}
	return nil
}

// finish ends a commit: after success what was released is freed, after a failure all is
// dirty as before. mu is held.
func (im *Image) finish(w *writeBack, err error) error {
	for _, list := range [][]tableWrite{w.refBlocks, w.l2} {
		for _, t := range list {
			t.table.writing = false
			if err != nil && t.cache.entries[t.table.off] == t.table {
				t.cache.markDirty(t.table, t.lo, t.lo+len(t.data))
			}
		}
	}
	if w.move != nil {
		w.move.begun = false
	}
	if err != nil {
		for _, k := range w.refEntries {
			im.refs.dirty[k] = struct{}{}
		}
		for _, k := range w.l1Entries {
			im.l1.dirty[k] = struct{}{}
		}
		im.released = append(w.released, im.released...)
		for _, r := range w.released {
			im.waiting += r.count
		}
		if m := w.move; m != nil && m != im.refs.move {
			// The table has grown again meanwhile, and moves elsewhere.
			im.release(m.off>>im.clusterBits, m.clusters, 1, discardOther)
		}
		return err
	}
	if w.move != nil {
		im.release(im.hdr.refTableOffset>>im.clusterBits, int64(im.hdr.refTableClusters), 1, discardOther)
		im.hdr.refTableOffset, im.hdr.refTableClusters = w.move.off, uint32(w.move.clusters)
		if im.refs.move == w.move {
			im.refs.move = nil
		}
	}
	return im.free(w.released)
}

// free takes released references off the refcounts and makes clusters that nobody uses
// available again.
func (im *Image) free(list []releasedRun) error {
	var first error
	for _, r := range list {
		im.raise(blockdev.EventClusterFree)
		for c := r.first; c < r.end(); c++ {
			if err := im.freeCluster(c, r.refs); err != nil && first == nil {
				first = err
			}
		}
	}
	return first
}

func (im *Image) freeCluster(c, refs int64) error {
	if err := im.addRefcount(c, 1, -refs); err != nil {
		return err
	}
	if n, err := im.refcount(c); err != nil || n > 0 {
		return err
	}
	im.freed(c)
	return nil
}

// freed notes that nobody uses a cluster any more.
func (im *Image) freed(c int64) {
	off := c << im.clusterBits
	im.l2Cache.drop(off)
	im.refCache.drop(off)
	im.freeHint = min(im.freeHint, c)
}

// lastReferences are the clusters that will be free, and that the host is to hear of. mu
// is held, shared at least.
func (im *Image) lastReferences(list []releasedRun) []clusterRun {
	var out []clusterRun
	for _, r := range list {
		if !im.passDiscard[r.reason] {
			continue
		}
		for c := r.first; c < r.end(); c++ {
			if n, err := im.refcount(c); err != nil || n != uint64(r.refs) {
				continue
			}
			if k := len(out); k > 0 && out[k-1].end() == c {
				out[k-1].count++
				continue
			}
			out = append(out, clusterRun{c, 1})
		}
	}
	return out
}

// discardClusters gives clusters back to the host. They still count as used, so that
// nobody writes to them meanwhile.
func (im *Image) discardClusters(list []clusterRun) {
	for _, r := range list {
		// A hint: its failure loses nothing.
		_ = blockdev.Discard(im.file, r.first<<im.clusterBits, r.count<<im.clusterBits)
	}
}
