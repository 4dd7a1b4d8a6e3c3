package qcow2

import (
	"fmt"

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
	defer im.lockRange(off, int64(len(p)), im.partSectors(off, int64(len(p))))()
	im.mu.RLock()
	m, err := im.lookup(im.l1.entries, off, int64(len(p)))
	im.l2Cache.trim()
	what := ""
	inPlace := err == nil && m.inPlace() && !im.goesOn(m, off, int64(len(p)))
	if inPlace {
		err = im.checkInactive()
	}
	if inPlace && !im.external {
		what = im.notData(m.host, m.len)
	}
	im.mu.RUnlock()
	switch {
	case err != nil:
		return 0, im.judge(err)
	case what != "":
		im.mu.Lock()
		defer im.mu.Unlock()
		return 0, im.markOverlap(m.host, what)
	case !inPlace:
		return 0, nil
	}
	im.raise(blockdev.EventWriteAIO)
	return m.len, im.writeData(p[:m.len], m.host, off)
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
	// reused: the host clusters are theirs already, but not all of their subclusters are
	// in use.
	reused bool
	// from and to are the guest bytes that get data there: those written, and around them
	// what is copied.
	from, to int64
}

func (a allocation) end(im *Image) int64 { return (a.guest + a.run.count) << im.clusterBits }

// beginWrite allocates clusters for a write at off: as many in a row as need them. The
// range is locked and mu is held.
func (im *Image) beginWrite(off, n int64) (allocation, error) {
	m, err := im.lookup(im.l1.entries, off, n)
	if err != nil || m.inPlace() && !im.goesOn(m, off, n) {
		return allocation{}, err
	}
	a := allocation{guest: off >> im.clusterBits}
	if m.owned {
		a.reused = true
		a.run, err = im.ownedStorage(a.guest, (off+n-1)>>im.clusterBits+1-a.guest)
	} else {
		a.run, err = im.allocateFor(off, n, m)
	}
	if err != nil {
		return a, err
	}
	if err = im.setBounds(&a, off, min(off+n, a.end(im))); err != nil {
		im.giveBackGuest(a)
	}
	return a, err
}

// goesOn tells if what m maps at off is shorter than n, and is followed by storage that is
// owned as well, but not in use: both are written together.
func (im *Image) goesOn(m mapping, off, n int64) bool {
	if m.len == n || (off+m.len)%im.l2Span() == 0 {
		return false
	}
	next, err := im.lookup(im.l1.entries, off+m.len, 1)
	return err == nil && next.owned && !next.inPlace() && next.host == m.host+m.len
}

// allocateFor allocates clusters for a write to those that have none of their own; m is
// how the first is stored.
func (im *Image) allocateFor(off, n int64, m mapping) (clusterRun, error) {
	guest, want, err := off>>im.clusterBits, int64(0), error(nil)
	for end := off; ; {
		end += m.len
		want = (end-1)>>im.clusterBits + 1 - guest
		if end >= off+n {
			break
		}
		if m, err = im.lookup(im.l1.entries, end, off+n-end); err != nil {
			return clusterRun{}, err
		}
		if m.owned {
			break
		}
	}
	return im.allocateGuest(guest, want, false)
}

// ownedStorage is the run of host clusters that up to want guest clusters of one L2 table
// have already, each for itself alone.
func (im *Image) ownedStorage(guest, want int64) (clusterRun, error) {
	t, err := im.ownL2(guest >> im.l2Bits)
	if err != nil {
		return clusterRun{}, err
	}
	first := guest & (1<<im.l2Bits - 1)
	host := im.entry(t, first).desc & entryOffset
	run := clusterRun{first: int64(host) >> im.clusterBits}
	for run.count < want {
		e := im.entry(t, first+run.count)
		if run.count > 0 && (e.compressed() || !e.owned() || e.desc&entryOffset != host+uint64(run.count<<im.clusterBits)) {
			break
		}
		if im.invalid(e) {
			return run, im.invalidEntry(t, first+run.count)
		}
		run.count++
	}
	if im.external {
		return run, nil
	}
	if what := im.notData(int64(host), run.count<<im.clusterBits); what != "" {
		return run, im.markOverlap(int64(host), what)
	}
	return run, nil
}

// setBounds finds out what a write of [off, end) into the clusters of a has to copy around
// it: the rest of the subclusters at its ends, where they are not in use in a's clusters
// already; in new clusters also all that only the old ones hold.
func (im *Image) setBounds(a *allocation, off, end int64) error {
	t, err := im.ownL2(a.guest >> im.l2Bits)
	if err != nil {
		return err
	}
	inUse := func(e l2Entry, in int64) bool { return a.reused && im.kind(e, int(in>>im.subBits)) == clusterNormal }
	needed := func(e l2Entry, from, to int64) uint32 {
		if a.reused {
			return im.subset(from, to)
		}
		return im.subset(from, to) | im.held(e)
	}
	a.from, a.to = off, end
	mask := int64(1)<<im.l2Bits - 1
	start := a.guest << im.clusterBits
	if e := im.entry(t, a.guest&mask); !inUse(e, off-start) {
		a.from = start + lowest(needed(e, off-start, min(end-start, im.clusterSize)))<<im.subBits
	}
	last := (end - 1) &^ (im.clusterSize - 1)
	if e := im.entry(t, last>>im.clusterBits&mask); !inUse(e, end-1-last) {
		a.to = last + highest(needed(e, max(off-last, 0), end-last))<<im.subBits
	}
	if im.external {
		a.to = min(a.to, max(end, im.Size())) // the file is not to become longer than the disk
	}
	return nil
}

// allocateGuest allocates host clusters for guest clusters of one L2 table, which is made
// first where it is missing: so it lies before what it describes, as in QEMU's images. In
// an external data file every guest cluster has its place.
func (im *Image) allocateGuest(guest, want int64, exact bool) (clusterRun, error) {
	if _, err := im.ownL2(guest >> im.l2Bits); err != nil {
		return clusterRun{}, err
	}
	if im.external {
		return clusterRun{guest, want}, nil
	}
	return im.allocate("", want, exact)
}

// abandon gives clusters back that were not linked. What was written to subclusters that
// are not in use does no harm.
func (im *Image) abandon(a allocation) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.giveBackGuest(a)
}

// giveBackGuest undoes an allocateGuest. mu is held.
func (im *Image) giveBackGuest(a allocation) {
	if !a.reused && !im.external {
		im.giveBack(a.run)
	}
}

// writeWithCopies writes p at guest offset off into the host clusters of a, and around it
// what the subclusters there held before.
func (im *Image) writeWithCopies(a allocation, p []byte, off int64) error {
	host := func(guest int64) int64 { return guest - a.guest<<im.clusterBits + a.run.first<<im.clusterBits }
	end := off + int64(len(p))
	if a.from == off && a.to == end {
		im.raise(blockdev.EventWriteAIO)
		return im.writeData(p, host(off), off)
	}
	read := func(p []byte, off int64) error { return im.readGuest(im.active(), p, off) }
	writing := func() { im.raise(blockdev.EventCOWWrite) }
	if im.knownZero(a.from, off) && im.knownZero(end, a.to) {
		read = func([]byte, int64) error { return nil }
		writing = func() {}
		im.raise(blockdev.EventClusterAllocSpace)
	} else {
		im.raise(blockdev.EventCOWRead)
	}
	if a.to-a.from <= max(maxBounce, im.clusterSize) {
		buf := make([]byte, a.to-a.from)
		copy(buf[off-a.from:], p)
		if err := read(buf[:off-a.from], a.from); err != nil {
			return err
		}
		if err := read(buf[end-a.from:], end); err != nil {
			return err
		}
		im.raise(blockdev.EventWriteAIO)
		writing()
		return im.writeData(buf, host(a.from), a.from)
	}
	for _, edge := range []struct{ off, end int64 }{{a.from, off}, {end, a.to}} {
		buf := make([]byte, edge.end-edge.off)
		if err := read(buf, edge.off); err != nil {
			return err
		}
		writing()
		if err := im.writeData(buf, host(edge.off), edge.off); err != nil {
			return err
		}
	}
	im.raise(blockdev.EventWriteAIO)
	return im.writeData(p, host(off), off)
}

// knownZero tells if guest bytes are zeroes by the tables alone, or lie behind the end of the
// backing file.
func (im *Image) knownZero(from, to int64) bool {
	im.mu.RLock()
	defer im.mu.RUnlock()
	for from < to {
		m, err := im.lookup(im.l1.entries, from, to-from)
		switch {
		case err != nil:
			return false
		case m.kind == clusterUnallocated || m.kind == clusterReserved:
			if from < im.backingEnd() {
				return false
			}
		case m.kind != clusterZero && m.kind != clusterZeroAllocated:
			return false
		}
		from += m.len
	}
	im.l2Cache.trim()
	return true
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
		old := im.entry(t, first+i)
		start := (a.guest + i) << im.clusterBits
		e := l2Entry{desc: uint64((a.run.first+i)<<im.clusterBits) | entryCopied}
		if !old.compressed() {
			e.bitmap = old.bitmap
		}
		e = im.withData(e, im.subset(max(a.from-start, 0), min(a.to-start, im.clusterSize)))
		im.putEntry(t, first+i, e)
		if !a.reused {
			im.releaseEntry(old, discardOther)
		}
	}
	return nil
}

// releaseEntry releases the host clusters of an L2 entry. Those of a bad one may be somebody
// else's and stay.
func (im *Image) releaseEntry(e l2Entry, reason discardReason) {
	if !im.aligned(e) {
		im.signal(notMarkedText(fmt.Sprintf("Cannot free unaligned cluster %#x", e.desc&entryOffset)))
		return
	}
	if r := im.hostClusters(e); r.count > 0 {
		im.release(r.first, r.count, 1, reason)
	}
}

// hostClusters are the clusters of the image file that an L2 entry refers to.
func (im *Image) hostClusters(e l2Entry) clusterRun {
	switch {
	case e.compressed():
		return im.compressedClusters(e.desc)
	case im.stored(e) && !im.external:
		return clusterRun{int64(e.desc&entryOffset) >> im.clusterBits, 1}
	}
	return clusterRun{}
}

// ownL2 returns the L2 table of an L1 entry, ready to be changed: made if there is none,
// copied if a snapshot shares it. mu is held.
func (im *Image) ownL2(i1 int64) (*table, error) {
	old := im.l1.entries[i1]
	if old&entryOffset != 0 && old&entryCopied != 0 {
		if what := im.tableOverlap(int64(old & entryOffset)); what != "" {
			return nil, im.markOverlap(int64(old&entryOffset), what)
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
	run, err := im.allocate("L2 table", 1, true)
	if err != nil {
		return nil, err
	}
	im.countTables()
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
		if e := im.entry(t, i); e.owned() {
			e.desc &^= entryCopied
			im.putEntry(t, i, e)
		}
	}
}

func (im *Image) setL1(i int64, v uint64) {
	im.l1.entries[i] = v
	im.l1.dirty[int(i)] = struct{}{}
}

// tableOverlap is metadataAt for a place that is said to be an L2 table.
func (im *Image) tableOverlap(off int64) string {
	return im.metadataBut(overlapActiveL2|overlapInactiveL2, off, im.clusterSize)
}

// Limits: whole clusters are best, to write zeroes also whole subclusters.
func (im *Image) Limits() blockdev.Limits {
	return blockdev.Limits{
		ZeroAlignment:    im.subSize(),
		DiscardAlignment: im.clusterSize,
		OptimalTransfer:  im.clusterSize,
	}
}
