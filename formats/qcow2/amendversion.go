package qcow2

import (
	"github.com/qmon/qmon/blockdev"
)

// upgrade makes a version 2 image one of version 3, if that is asked for.
func (im *Image) upgrade(a *amendment) error {
	return im.exclusive(func() error {
		if im.v3() || a.version(im.hdr) < 3 {
			return nil
		}
		if err := im.commitAll(); err != nil {
			return err
		}
		if err := im.completeSnapshots(); err != nil {
			return err
		}
		h := *im.hdr
		h.version, h.length = 3, headerLengthV3
		h.setExtension(extFeatureNames, featureTable())
		return im.changeVersion(&h)
	})
}

// completeSnapshots gives every snapshot table entry the fields that version 3 asks for.
func (im *Image) completeSnapshots() error {
	for _, s := range im.snaps {
		if s.extraSize >= snapshotExtraV3 {
			continue
		}
		if err := im.writeSnapshotTable(im.snaps); err != nil {
			return err
		}
		for _, s := range im.snaps {
			s.extraSize = max(s.extraSize, snapshotExtraV3)
		}
		return im.commitAll()
	}
	return nil
}

func (im *Image) changeVersion(h *header) error {
	if err := im.rewriteHeader(h); err != nil {
		return err
	}
	im.version.Store(h.version)
	return nil
}

// downgrade makes a version 3 image one of version 2, if that is asked for.
func (im *Image) downgrade(a *amendment) error {
	return im.exclusive(func() error {
		if !im.v3() || a.version(im.hdr) >= 3 {
			return nil
		}
		if err := im.checkDowngrade(); err != nil {
			return err
		}
		if err := im.endLaziness(); err != nil {
			return err
		}
		if err := im.expandZeroes(a); err != nil {
			return blockdev.Because("Failed to turn zero into data clusters", err)
		}
		h := *im.hdr
		h.version, h.length = 2, headerLengthV2
		h.incompatible, h.compatible, h.autoclear = 0, 0, 0
		h.compression, h.unknownFields = compressionZlib, nil
		h.setExtension(extFeatureNames, nil)
		if err := im.changeVersion(&h); err != nil {
			return err
		}
		im.compression = compressionZlib
		return nil
	})
}

// checkDowngrade refuses what version 2 cannot express.
func (im *Image) checkDowngrade() error {
	h := im.hdr
	if im.refWidth != v2RefcountOrder {
		return im.refuseAmendment("compat=0.10 requires refcount_bits=16")
	}
	for _, s := range im.snaps {
		if s.vmStateSize != 0 || s.diskSize != im.Size() {
			return im.refuseAmendment("Internal snapshots prevent downgrade of image")
		}
	}
	if im.external {
		return im.refuseAmendment("Cannot downgrade an image with a data file")
	}
	if im.compression != compressionZlib {
		found, err := im.hasCompressed()
		if err != nil {
			return err
		}
		if found {
			return im.refuseAmendment("Cannot downgrade an image with zstd compression type and existing compressed clusters")
		}
	}
	if left := h.incompatible &^ (incompatDirty | incompatCompression); left != 0 {
		return im.refuseAmendment("Cannot downgrade an image with incompatible features %#x set", left)
	}
	return nil
}

// eachL1 calls f with the active L1 table and those of the snapshots.
func (im *Image) eachL1(f func(l1 []uint64, active bool) error) error {
	if err := f(im.l1.entries, true); err != nil {
		return err
	}
	for _, s := range im.snaps {
		l1, err := im.snapshotL1(s)
		if err != nil {
			return err
		}
		if err := f(l1, false); err != nil {
			return err
		}
	}
	return nil
}

// hasCompressed tells if any guest cluster is compressed.
func (im *Image) hasCompressed() (found bool, err error) {
	err = im.eachL1(func(l1 []uint64, _ bool) error {
		return im.eachTable(l1, func(t *table, _ int64) error {
			for i := int64(0); i < 1<<im.l2Bits && !found; i++ {
				found = im.entry(t, i).compressed()
			}
			return nil
		})
	})
	return found, err
}

// eachTable is walkTables, and keeps the caches within bounds.
func (im *Image) eachTable(l1 []uint64, f func(t *table, i int64) error) error {
	return im.walkTables(l1, func(t *table, i int64) error {
		if err := f(t, i); err != nil {
			return err
		}
		return im.makeRoom()
	})
}

// expandZeroes replaces clusters that read as zeroes by their flag, which version 2 does
// not have: by nothing where there is no backing file, else by written ones. What a crash
// leaves is a valid image of version 3.
func (im *Image) expandZeroes(a *amendment) error {
	total := int64(len(im.l1.entries))
	for _, s := range im.snaps {
		total += int64(s.l1Size)
	}
	done := int64(0)
	seen := map[int64]bool{} // tables that several L1 tables share
	err := im.eachL1(func(l1 []uint64, active bool) error {
		at := int64(0)
		err := im.eachTable(l1, func(t *table, i int64) error {
			for ; at <= i; at++ {
				a.progress(done+at, total)
			}
			if seen[t.off] {
				return nil
			}
			seen[t.off] = true
			if err := a.ctx.Err(); err != nil {
				return err
			}
			return im.expandTable(t, i, active)
		})
		for ; err == nil && at < int64(len(l1)); at++ {
			a.progress(done+at, total)
		}
		done += int64(len(l1))
		return err
	})
	if err != nil {
		return err
	}
	a.progress(total, total)
	return im.commitAll()
}

// expandTable does expandZeroes for one L2 table, that of L1 index i1, which may be shared.
func (im *Image) expandTable(t *table, i1 int64, active bool) error {
	users, err := im.refcount(t.off >> im.clusterBits)
	if err != nil {
		return err
	}
	if what := im.tableOverlap(t.off); what != "" {
		return im.markOverlap(t.off, what)
	}
	for i := int64(0); i < 1<<im.l2Bits; i++ {
		e := im.entry(t, i)
		if !im.readsAsZeroes(e, im.allSubclusters()) {
			continue
		}
		v, err := im.expandEntry(e, int64(users), t.off, i, i1*im.l2Span()+i<<im.clusterBits)
		if err != nil {
			return err
		}
		if !active || users > 1 {
			v &^= entryCopied
		}
		im.putEntry(t, i, l2Entry{desc: v})
		if err := im.makeRoom(); err != nil {
			return err
		}
		if t, err = im.l2Cache.get(t.off); err != nil { // it may have been evicted
			return err
		}
	}
	return nil
}

// expandEntry makes the entry that replaces a zero cluster's, in a table that users L1
// tables refer to.
func (im *Image) expandEntry(e l2Entry, users, l2, index, guest int64) (uint64, error) {
	old := im.hostClusters(e)
	if err := im.checkDataOffset(e, l2, index, guest); err != nil {
		return 0, im.judgeLocked(err)
	}
	if !im.hasBacking() {
		im.release(old.first, old.count, users, discardOther)
		return 0, nil
	}
	if old.count > 0 {
		n, err := im.refcount(old.first)
		if err != nil {
			return 0, err
		}
		host := old.first << im.clusterBits
		if n == uint64(users) && im.notData(host, im.clusterSize) == "" {
			// Nobody else can see what is in it.
			return e.desc &^ entryZero, im.writeZeroesAt(host, guest, im.clusterSize)
		}
	}
	run, err := im.allocate("", 1, true)
	if err != nil {
		return 0, err
	}
	if err := im.addRefcount(run.first, 1, users-1); err != nil {
		return 0, err
	}
	host := run.first << im.clusterBits
	if err := im.writeZeroesAt(host, guest, im.clusterSize); err != nil {
		return 0, err
	}
	im.release(old.first, old.count, users, discardOther)
	return uint64(host) | entryCopied, nil
}
