package qcow2

import (
	"github.com/qmon/qmon/blockdev"
)

// maxBounce is how much of a request is copied to join it with what is copied on write
// around it. Larger requests are written from the caller's memory, in up to three writes.
const maxBounce = 256 << 10

// WriteAt writes guest bytes.
func (im *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := im.checkWritable("write"); err != nil {
		return 0, err
	}
	if err := im.checkRange("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	err := im.tracked(off, int64(len(p)), func() error { return im.writeGuest(p, off) })
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// writeGuest writes guest bytes, in the disk or in the VM state area.
func (im *Image) writeGuest(p []byte, off int64) error {
	for len(p) > 0 {
		n, err := im.overwrite(p, off)
		if err == nil && n == 0 {
			n, err = im.writeAllocating(p, off)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

// overwrite writes the leading part of p whose clusters can be written where they are;
// 0 if the first cannot.
func (im *Image) overwrite(p []byte, off int64) (int64, error) {
	defer im.lockRange(off, int64(len(p)), false)()
	im.mu.RLock()
	m, err := im.lookup(im.l1.entries, off, int64(len(p)))
	im.l2Cache.trim()
	what := ""
	if err == nil && m.inPlace() {
		what = im.notData(m.host, m.len)
	}
	im.mu.RUnlock()
	switch {
	case err != nil:
		return 0, err
	case what != "":
		im.mu.Lock()
		defer im.mu.Unlock()
		return 0, im.markCorrupt(m.host, "Preventing invalid write on metadata (overlaps with %s)", what)
	case !m.inPlace():
		return 0, nil
	}
	im.raise(blockdev.EventWriteAIO)
	_, err = im.file.WriteAt(p[:m.len], m.host)
	return m.len, err
}

func (m mapping) inPlace() bool { return m.kind == clusterNormal && m.owned }

// notData is metadataAt for a range that a table entry claims to be guest data. What no
// refcount block can count was never allocated.
func (im *Image) notData(host, n int64) string {
	if (host+n-1)>>im.clusterBits>>im.refBlockBits >= int64(len(im.refs.entries)) {
		return "unallocated space"
	}
	return im.metadataAt(host, n)
}

// writeAllocating writes a leading part of p into clusters that it allocates.
func (im *Image) writeAllocating(p []byte, off int64) (int64, error) {
	p = p[:min(int64(len(p)), im.l2Span()-off%im.l2Span())]
	defer im.lockRange(off, int64(len(p)), true)()
	var a allocation
	err := im.update(func() (err error) {
		a, err = im.beginWrite(off, int64(len(p)))
		return err
	})
	if err != nil || a.run.count == 0 {
		// None if another request allocated it meanwhile: start over.
		return 0, err
	}
	n := min(int64(len(p)), a.end(im)-off)
	if err = im.writeWithCopies(a, p[:n], off); err == nil {
		err = im.update(func() error { return im.link(a) })
	}
	if err != nil {
		im.abandon(a)
		return 0, err
	}
	return n, nil
}

// allocation is a run of guest clusters of one L2 table and the host clusters that they
// are to get.
type allocation struct {
	guest int64 // first guest cluster
	run   clusterRun
	// reused: the host clusters are those of allocated zero clusters, already theirs.
	reused bool
}

func (a allocation) end(im *Image) int64 { return (a.guest + a.run.count) << im.clusterBits }

// beginWrite allocates clusters for a write at off: as many in a row as need them. The
// range is locked and mu is held.
func (im *Image) beginWrite(off, n int64) (allocation, error) {
	m, err := im.lookup(im.l1.entries, off, n)
	if err != nil || m.inPlace() {
		return allocation{}, err
	}
	a := allocation{guest: off >> im.clusterBits}
	if m.kind == clusterZeroAllocated && m.owned {
		host := m.host >> im.clusterBits
		if what := im.notData(m.host, m.len); what != "" {
			return a, im.markCorrupt(m.host, "Preventing invalid write on metadata (overlaps with %s)", what)
		}
		a.run = clusterRun{host, (m.host+m.len-1)>>im.clusterBits + 1 - host}
		a.reused = true
		return a, nil
	}
	want := int64(0)
	for end := off; ; {
		end += m.len
		want = (end-1)>>im.clusterBits + 1 - a.guest
		if end >= off+n {
			break
		}
		if m, err = im.lookup(im.l1.entries, end, off+n-end); err != nil {
			return a, err
		}
		if m.owned {
			break
		}
	}
	a.run, err = im.allocateGuest(a.guest, want, false)
	return a, err
}

// allocateGuest allocates host clusters for guest clusters of one L2 table, which is made
// first where it is missing: so it lies before what it describes, as in QEMU's images.
func (im *Image) allocateGuest(guest, want int64, exact bool) (clusterRun, error) {
	if _, err := im.ownL2(guest >> im.l2Bits); err != nil {
		return clusterRun{}, err
	}
	return im.allocate(want, exact)
}

// abandon gives clusters back that were not linked. Ranges written to reused clusters do
// no harm: they still read as zeroes.
func (im *Image) abandon(a allocation) {
	if a.reused {
		return
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	im.giveBack(a.run)
}

// writeWithCopies writes p at guest offset off into the host clusters of a, and around it
// what the partly written first and last clusters held before.
func (im *Image) writeWithCopies(a allocation, p []byte, off int64) error {
	start := a.guest << im.clusterBits
	host := a.run.first << im.clusterBits
	head := off - start
	end := off + int64(len(p))
	tail := -end & (im.clusterSize - 1)
	if head == 0 && tail == 0 {
		im.raise(blockdev.EventWriteAIO)
		_, err := im.file.WriteAt(p, host)
		return err
	}
	im.raise(blockdev.EventCOWRead)
	if head+int64(len(p))+tail <= max(maxBounce, im.clusterSize) {
		buf := make([]byte, head+int64(len(p))+tail)
		copy(buf[head:], p)
		if err := im.readGuest(im.active(), buf[:head], start); err != nil {
			return err
		}
		if err := im.readGuest(im.active(), buf[head+int64(len(p)):], end); err != nil {
			return err
		}
		im.raise(blockdev.EventWriteAIO)
		_, err := im.file.WriteAt(buf, host)
		return err
	}
	for _, edge := range []struct{ off, n int64 }{{start, head}, {end, tail}} {
		buf := make([]byte, edge.n)
		if err := im.readGuest(im.active(), buf, edge.off); err != nil {
			return err
		}
		im.raise(blockdev.EventCOWWrite)
		if _, err := im.file.WriteAt(buf, host+edge.off-start); err != nil {
			return err
		}
	}
	im.raise(blockdev.EventWriteAIO)
	_, err := im.file.WriteAt(p, host+head)
	return err
}

// link makes the guest clusters of a refer to its host clusters, and releases what they
// referred to before. mu is held. It fails before it changes anything, or not at all.
func (im *Image) link(a allocation) error {
	t, err := im.ownL2(a.guest >> im.l2Bits)
	if err != nil {
		return err
	}
	first := a.guest & (1<<im.l2Bits - 1)
	for i := int64(0); i < a.run.count; i++ {
		old := t.entry(first + i)
		im.l2Cache.put(t, first+i, uint64((a.run.first+i)<<im.clusterBits)|entryCopied)
		if !a.reused {
			im.releaseEntry(old, discardOther)
		}
	}
	return nil
}

// releaseEntry releases the host clusters of an L2 entry.
func (im *Image) releaseEntry(e uint64, reason discardReason) {
	if r := im.hostClusters(e); r.count > 0 {
		im.release(r.first, r.count, 1, reason)
	}
}

// hostClusters are the host clusters that an L2 entry refers to.
func (im *Image) hostClusters(e uint64) clusterRun {
	switch im.classify(e) {
	case clusterNormal, clusterZeroAllocated:
		return clusterRun{int64(e&entryOffset) >> im.clusterBits, 1}
	case clusterCompressed:
		return im.compressedClusters(e)
	}
	return clusterRun{}
}

// ownL2 returns the L2 table of an L1 entry, ready to be changed: made if there is none,
// copied if a snapshot shares it. mu is held.
func (im *Image) ownL2(i1 int64) (*table, error) {
	old := im.l1.entries[i1]
	if old&entryOffset != 0 && old&entryCopied != 0 {
		if what := im.tableOverlap(int64(old & entryOffset)); what != "" {
			return nil, im.markCorrupt(int64(old&entryOffset), "Preventing invalid write on metadata (overlaps with %s)", what)
		}
		return im.l2Table(old, i1)
	}
	var from *table
	if old&entryOffset != 0 {
		im.raise(blockdev.EventL2AllocCOWRead)
		var err error
		if from, err = im.l2Table(old, i1); err != nil {
			return nil, err
		}
	}
	run, err := im.allocate(1, true)
	if err != nil {
		return nil, err
	}
	off := run.first << im.clusterBits
	im.raise(blockdev.EventL2AllocWrite)
	t := im.l2Cache.create(off)
	if from != nil {
		im.copyShared(t, from)
		im.release(from.off>>im.clusterBits, 1, 1, discardOther)
	}
	im.setL1(i1, uint64(off)|entryCopied)
	return t, nil
}

// copyShared copies a table that somebody else refers to, and so to all its clusters.
func (im *Image) copyShared(t, from *table) {
	copy(t.data, from.data)
	for i := int64(0); i < 1<<im.l2Bits; i++ {
		if e := t.entry(i); e&entryCopied != 0 {
			im.l2Cache.put(t, i, e&^entryCopied)
		}
	}
}

func (im *Image) setL1(i int64, v uint64) {
	im.l1.entries[i] = v
	im.l1.dirty[int(i)] = struct{}{}
}

// tableOverlap is metadataAt for a place that is said to be an L2 table.
func (im *Image) tableOverlap(off int64) string {
	if what := im.metadataAt(off, im.clusterSize); what != "active L2 table" {
		return what
	}
	return ""
}

// Limits: whole clusters are best.
func (im *Image) Limits() blockdev.Limits {
	return blockdev.Limits{
		ZeroAlignment:    im.clusterSize,
		DiscardAlignment: im.clusterSize,
		OptimalTransfer:  im.clusterSize,
	}
}
