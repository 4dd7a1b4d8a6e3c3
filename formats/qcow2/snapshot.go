package qcow2

import (
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// Snapshots lists the snapshots in the order of the table.
func (im *Image) Snapshots() ([]blockdev.Snapshot, error) {
	im.mu.RLock()
	defer im.mu.RUnlock()
	out := make([]blockdev.Snapshot, 0, len(im.snaps))
	for _, s := range im.snaps {
		out = append(out, s.public())
	}
	return out, nil
}

// findSnapshot finds a snapshot by its ID, else by its name.
func (im *Image) findSnapshot(id string) (*snapshot, error) {
	for _, s := range im.snaps {
		if s.id == id {
			return s, nil
		}
	}
	for _, s := range im.snaps {
		if s.name == id {
			return s, nil
		}
	}
	return nil, blockdev.Errorf(blockdev.ErrNotFound, "snapshot", im.name, "Can't find snapshot '%s'", id)
}

// nextSnapshotID is one more than the highest number in use.
func (im *Image) nextSnapshotID() string {
	var highest uint64
	for _, s := range im.snaps {
		if n, err := strconv.ParseUint(s.id, 10, 63); err == nil {
			highest = max(highest, n)
		}
	}
	return strconv.FormatUint(highest+1, 10)
}

// CreateSnapshot makes the present contents, the VM state area included, a snapshot. The
// area is empty afterwards.
func (im *Image) CreateSnapshot(s blockdev.Snapshot) (blockdev.Snapshot, error) {
	if err := im.checkWritable("snapshot"); err != nil {
		return s, err
	}
	if err := im.checkInternal("snapshot"); err != nil {
		return s, err
	}
	err := im.exclusive(func() error {
		if len(im.snaps) >= maxSnapshots {
			return blockdev.Errorf(&refusal{blockdev.ErrLimit, syscall.EFBIG}, "snapshot", im.name, "File too large")
		}
		if len(s.Name) > maxSnapshotString {
			return blockdev.Errorf(blockdev.ErrLimit, "snapshot", im.name, "Snapshot name too long")
		}
		s.ID = im.nextSnapshotID()
		s.DiskSize = im.Size()
		_, err := im.changeSharing(func() error { return im.createSnapshot(newSnapshot(s)) })
		return err
	})
	return s, err
}

// createSnapshot: the snapshot gets a copy of the L1 table, and one more reference to all
// that it refers to. The table that lists it is written last.
func (im *Image) createSnapshot(s *snapshot) error {
	l1 := append([]uint64(nil), im.l1.entries...)
	if err := im.addReferences(l1, 1); err != nil {
		return err
	}
	run, err := im.allocate("", im.clustersFor(int64(len(l1))*8), true)
	if err != nil {
		_ = im.dropReferences(l1, discardOther) // the first error counts
		return err
	}
	s.l1Offset, s.l1Size = run.first<<im.clusterBits, uint32(len(l1))
	for i := range l1 {
		l1[i] &^= entryCopied
	}
	if _, err = im.file.WriteAt(encodeEntries(l1), s.l1Offset); err == nil {
		err = im.refreshCopied()
	}
	if err == nil {
		err = im.writeSnapshotTable(append(im.snaps[:len(im.snaps):len(im.snaps)], s))
	}
	if err != nil {
		im.giveBack(run)
		_ = im.dropReferences(l1, discardOther) // the first error counts
		return err
	}
	return im.dropBeyond(im.vmStateBase(im.Size()), discardOther)
}

// ApplySnapshot makes the contents of a snapshot, its disk size and its VM state included,
// the present ones.
func (im *Image) ApplySnapshot(id string) error {
	if err := im.checkWritable("snapshot"); err != nil {
		return err
	}
	return im.exclusive(func() error {
		if len(im.bitmaps) > 0 {
			// They could not tell what the snapshot changes.
			return blockdev.Errorf(blockdev.ErrInUse, "snapshot", im.name, "Device has active dirty bitmaps")
		}
		s, err := im.findSnapshot(id)
		if err != nil {
			return err
		}
		_, err = im.changeSharing(func() error { return im.applySnapshot(s) })
		return err
	})
}

func (im *Image) applySnapshot(s *snapshot) error {
	l1, err := im.snapshotL1(s)
	if err != nil {
		return err
	}
	if short := im.l1Needed(s.diskSize) - int64(len(l1)); short > 0 {
		l1 = append(l1, make([]uint64, short)...)
	}
	for i := range l1 {
		// Until the refcounts were looked at everything counts as shared.
		l1[i] &^= entryCopied
	}
	if err := im.addReferences(l1, 1); err != nil {
		return err
	}
	old := im.l1.entries
	if err := im.replaceL1(l1, s.diskSize); err != nil {
		_ = im.dropReferences(l1, discardOther) // the first error counts
		return err
	}
	// What it cannot drop is leaked: the snapshot is in force.
	_ = im.dropReferences(old, discardOther)
	return nil
}

// DeleteSnapshot frees what only the snapshot refers to. After an error that says that freeing
// failed the snapshot is gone, and what it had is leaked.
func (im *Image) DeleteSnapshot(id string) error {
	if err := im.checkWritable("snapshot"); err != nil {
		return err
	}
	gone := false
	err := im.exclusive(func() error {
		s, err := im.findSnapshot(id)
		if err != nil {
			return err
		}
		if s.users > 0 {
			return blockdev.Errorf(blockdev.ErrInUse, "snapshot", im.name, "Snapshot '%s' is in use", s.name)
		}
		unsettled, err := im.changeSharing(func() error { return im.deleteSnapshot(s) })
		gone = !slices.Contains(im.snaps, s)
		if err == nil && unsettled != nil {
			_, words := blockdev.SystemError(unsettled)
			im.tell("qcow2_free_clusters failed: " + words)
			return unsettled
		}
		return err
	})
	if err != nil && gone {
		return blockdev.Because("Failed to free the cluster and L1 table", err)
	}
	return err
}

func (im *Image) deleteSnapshot(s *snapshot) error {
	l1, err := im.snapshotL1(s)
	if err != nil {
		return err
	}
	var rest []*snapshot
	for _, o := range im.snaps {
		if o != s {
			rest = append(rest, o)
		}
	}
	if err := im.writeSnapshotTable(rest); err != nil {
		return err
	}
	err = im.dropReferences(l1, discardSnapshot)
	im.release(s.l1Offset>>im.clusterBits, im.clustersFor(int64(s.l1Size)*8), 1, discardSnapshot)
	return err
}

// changeSharing runs a change of who refers to what, then sets the copied flags right.
// While refcounts and flags disagree the image is marked dirty, where the version can, so
// that a crash leads to a rebuild. The caller has the image to itself.
//
// What f did, or did not do, stands when setting right fails with unsettled. Flags that are
// wrong then only cost copies; the dirty bit stays, and the refcounts are rebuilt when the
// image is closed.
func (im *Image) changeSharing(f func() error) (unsettled, err error) {
	if err := im.commitAll(); err != nil {
		return nil, err
	}
	if im.v3() {
		if err := im.setDirty(true); err != nil {
			return nil, err
		}
	}
	err = f()
	unsettled = im.settle()
	im.suspect = im.suspect || unsettled != nil
	return unsettled, err
}

// settle brings refcounts and copied flags to the file, and clears the dirty bit.
func (im *Image) settle() error {
	if err := im.commitAll(); err != nil {
		return err
	}
	if err := im.refreshCopied(); err != nil {
		return err
	}
	if err := im.commitAll(); err != nil {
		return err
	}
	if im.lazy || im.suspect {
		return nil
	}
	return im.setDirty(false)
}

// eachReference calls f for each run of host clusters that an L1 table refers to: the L2
// tables and what they refer to. done, if not nil, is called after each L2 table.
func (im *Image) eachReference(l1 []uint64, f func(run clusterRun) error, done func() error) error {
	return im.walkTables(l1, func(t *table, _ int64) error {
		for j := int64(0); j < 1<<im.l2Bits; j++ {
			e := im.entry(t, j)
			if !im.aligned(e) {
				return im.unaligned(e, t.off, j)
			}
			if r := im.hostClusters(e); r.count > 0 {
				if err := f(r); err != nil {
					return err
				}
			}
		}
		if err := f(clusterRun{t.off >> im.clusterBits, 1}); err != nil || done == nil {
			return err
		}
		return done()
	})
}

// walkTables calls f with every L2 table of an L1 table and its L1 index. commitMu and mu
// are held.
func (im *Image) walkTables(l1 []uint64, f func(t *table, i int64) error) error {
	if !im.plausibleL1(l1) {
		return im.implausibleL1()
	}
	for i, e := range l1 {
		if e&entryOffset == 0 {
			continue
		}
		t, err := im.l2Table(e, int64(i))
		if err != nil {
			return err
		}
		if err := f(t, int64(i)); err != nil {
			return err
		}
	}
	return nil
}

// plausibleL1 tells if the file has a cluster for each L2 table of an L1 table. Walking one
// that is not plausible could take much longer than the file is.
func (im *Image) plausibleL1(l1 []uint64) bool {
	room := im.clustersFor(im.file.Size()) + int64(len(im.l2Cache.dirty))
	for _, e := range l1 {
		if e&entryOffset != 0 {
			room--
		}
	}
	return room >= 0
}

func (im *Image) implausibleL1() error {
	return im.corrupt("map", im.l1.off, "L1 table has more entries than the file has clusters")
}

// addReferences adds references to all that an L1 table refers to, or to nothing.
func (im *Image) addReferences(l1 []uint64, delta int64) error {
	done := int64(0)
	err := im.eachReference(l1, func(r clusterRun) error {
		if err := im.addRefcount(r.first, r.count, delta); err != nil {
			return err
		}
		done++
		return nil
	}, im.makeRoom)
	if err == nil {
		return nil
	}
	_ = im.eachReference(l1, func(r clusterRun) error {
		if done == 0 {
			return err
		}
		done--
		return im.addRefcount(r.first, r.count, -delta)
	}, im.makeRoom)
	im.suspect = im.suspect || done > 0
	return err
}

// dropReferences releases all that an L1 table refers to. What cannot be read, and what bad
// entries refer to, is leaked, and the first error returned.
func (im *Image) dropReferences(l1 []uint64, reason discardReason) (first error) {
	if !im.plausibleL1(l1) {
		return im.implausibleL1()
	}
	for i, e := range l1 {
		if e&entryOffset == 0 {
			continue
		}
		err := im.eachReference(l1[i:i+1], func(r clusterRun) error {
			im.release(r.first, r.count, 1, reason)
			return nil
		}, nil)
		if first == nil {
			first = err
		}
		im.l2Cache.trim()
	}
	return first
}

// makeRoom keeps the caches within bounds during a walk. commitMu and mu are held.
func (im *Image) makeRoom() error {
	if im.l2Cache.crowded() || im.refCache.crowded() {
		if err := im.commitLocked(); err != nil {
			return err
		}
	}
	im.l2Cache.trim()
	im.refCache.trim()
	return nil
}

// refreshCopied sets the copied flags of the active tables to what the refcounts say,
// section "Snapshots".
func (im *Image) refreshCopied() error {
	if !im.plausibleL1(im.l1.entries) {
		return im.implausibleL1()
	}
	for i, e := range im.l1.entries {
		if e&entryOffset == 0 {
			continue
		}
		t, err := im.l2Table(e, int64(i))
		if err != nil {
			return err
		}
		if v, err := im.withCopied(e, t.off>>im.clusterBits); err != nil {
			return err
		} else if v != e {
			im.setL1(int64(i), v)
		}
		for j := int64(0); j < 1<<im.l2Bits; j++ {
			e := im.entry(t, j)
			if !im.stored(e) || im.external {
				continue
			}
			if v, err := im.withCopied(e.desc, int64(e.desc&entryOffset)>>im.clusterBits); err != nil {
				return err
			} else if v != e.desc {
				e.desc = v
				im.putEntry(t, j, e)
			}
		}
		if err := im.makeRoom(); err != nil {
			return err
		}
	}
	return nil
}

func (im *Image) withCopied(e uint64, cluster int64) (uint64, error) {
	n, err := im.refcount(cluster)
	if err != nil {
		return 0, err
	}
	if n == 1 {
		return e | entryCopied, nil
	}
	return e &^ entryCopied, nil
}

// SnapshotExclusive is how many bytes deleting the snapshot would free.
func (im *Image) SnapshotExclusive(id string) (int64, error) {
	im.mu.RLock()
	defer im.mu.RUnlock()
	s, err := im.findSnapshot(id)
	if err != nil {
		return 0, err
	}
	l1, err := im.snapshotL1(s)
	if err != nil {
		return 0, err
	}
	clusters := im.clustersFor(int64(s.l1Size) * 8)
	partly := map[int64]uint64{} // references to clusters that hold several compressed ones
	err = im.eachReference(l1, func(r clusterRun) error {
		for c := r.first; c < r.end(); c++ {
			n, err := im.refcount(c)
			if err != nil {
				return err
			}
			if partly[c]++; partly[c] == n {
				clusters++
			}
			if n == 1 {
				delete(partly, c)
			}
		}
		return nil
	}, func() error { im.l2Cache.trim(); return nil })
	return clusters << im.clusterBits, err
}

// clustersFor is how many clusters n bytes take.
func (im *Image) clustersFor(n int64) int64 { return (n + im.clusterSize - 1) >> im.clusterBits }

// newSnapshot takes over what the caller of CreateSnapshot may choose.
func newSnapshot(s blockdev.Snapshot) *snapshot {
	date := s.Date
	if date.IsZero() {
		date = time.Now()
	}
	return &snapshot{
		id: s.ID, name: s.Name, vmStateSize: s.VMStateSize, diskSize: s.DiskSize,
		seconds: uint32(date.Unix()), nanoseconds: uint32(date.Nanosecond()),
		vmClock: uint64(s.VMClock), icount: s.ICount, extraSize: snapshotExtraKnown,
	}
}
