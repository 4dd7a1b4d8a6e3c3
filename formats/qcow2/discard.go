package qcow2

import "github.com/qmon/qmon/blockdev"

// WriteZeroes makes a range read as zeroes: whole clusters by their table entries, the
// parts of clusters at the ends by writing.
func (im *Image) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if err := im.checkWritable("write"); err != nil {
		return err
	}
	if err := im.checkRange("write", off, n); err != nil {
		return err
	}
	if !im.mode.Unmap {
		flags &^= blockdev.ZeroMayUnmap
	}
	return im.tracked(off, n, func() error { return im.zeroGuest(off, n, flags) })
}

func (im *Image) zeroGuest(off, n int64, flags blockdev.ZeroFlags) error {
	return im.eachAligned(off, n, im.zeroPart, func(off, n int64) (int64, error) {
		return im.zeroClusters(off, n, flags)
	})
}

// eachAligned calls whole with the whole clusters of a range, again until it has done all
// of them, and part with the parts of clusters before and behind. The last cluster of the
// disk counts as whole if the range reaches the end of the disk.
func (im *Image) eachAligned(off, n int64, part func(off, n int64) error, whole func(off, n int64) (int64, error)) error {
	for n > 0 {
		in := off & (im.clusterSize - 1)
		length := min(n, im.clusterSize-in)
		var err error
		if in == 0 && (n >= im.clusterSize || off+n == im.Size()) {
			length = n
			if off+n != im.Size() {
				length &^= im.clusterSize - 1
			}
			length, err = whole(off, length)
		} else {
			err = part(off, length)
		}
		if err != nil {
			return err
		}
		off, n = off+length, n-length
	}
	return nil
}

// zeroPart zeroes a part of one cluster, by writing unless it reads as zeroes already.
func (im *Image) zeroPart(off, n int64) error {
	im.mu.RLock()
	m, err := im.lookup(im.l1.entries, off, n)
	im.mu.RUnlock()
	if err != nil || im.readsZero(m.kind) {
		return err
	}
	return im.writeGuest(make([]byte, n), off)
}

func (im *Image) readsZero(k clusterKind) bool {
	return k == clusterZero || k == clusterZeroAllocated || k == clusterUnallocated && !im.hasBacking()
}

// zeroClusters zeroes the leading clusters of an aligned range and says how many bytes it
// did.
func (im *Image) zeroClusters(off, n int64, flags blockdev.ZeroFlags) (int64, error) {
	if !im.v3() {
		return im.zeroClustersV2(off, n, flags)
	}
	return im.changeClusters(off, n, func(e uint64, owned bool) (uint64, bool) {
		k := im.classify(e)
		keep := flags&blockdev.ZeroMayUnmap == 0 && owned
		switch {
		case k == clusterZero:
			return e, false
		case k == clusterZeroAllocated && keep:
			return e, false
		case k == clusterNormal && keep:
			return e | entryZero, true
		}
		return entryZero, true
	}, discardRequest)
}

// zeroClustersV2: version 2 has no zero flag. Without a backing file a cluster that is not
// there reads as zeroes; else they have to be written.
func (im *Image) zeroClustersV2(off, n int64, flags blockdev.ZeroFlags) (int64, error) {
	if !im.hasBacking() && flags&blockdev.ZeroMayUnmap != 0 {
		return im.changeClusters(off, n, func(e uint64, _ bool) (uint64, bool) { return 0, e != 0 }, discardRequest)
	}
	im.mu.RLock()
	m, err := im.lookup(im.l1.entries, off, n)
	im.mu.RUnlock()
	if err != nil || im.readsZero(m.kind) {
		return m.len, err
	}
	if flags&blockdev.ZeroNoFallback != 0 {
		return 0, blockdev.Errorf(blockdev.ErrNotSupported, "write", im.name, "Operation not supported")
	}
	n = min(m.len, max(maxBounce, im.clusterSize))
	return n, im.writeGuest(make([]byte, n), off)
}

// changeClusters replaces the L2 entries of the leading clusters of an aligned range, those
// of one L2 table, by what change makes of them, and releases clusters that are no longer
// referred to. owned tells change if the cluster may be kept in use as it is. The result is
// the number of bytes done.
func (im *Image) changeClusters(off, n int64, change func(e uint64, owned bool) (uint64, bool), reason discardReason) (int64, error) {
	n = min(n, im.l2Span()-off%im.l2Span())
	defer im.lockRange(off, n, true)()
	err := im.update(func() error {
		first := off >> im.clusterBits & (1<<im.l2Bits - 1)
		count := (n + im.clusterSize - 1) >> im.clusterBits
		return im.changeEntries(off/im.l2Span(), first, count, change, reason)
	})
	return n, err
}

func (im *Image) changeEntries(i1, first, count int64, change func(e uint64, owned bool) (uint64, bool), reason discardReason) error {
	l1e := im.l1.entries[i1]
	var t *table
	if l1e&entryOffset != 0 {
		var err error
		if t, err = im.l2Table(l1e, i1); err != nil {
			return err
		}
	}
	mine := false
	for i := first; i < first+count; i++ {
		var e uint64
		if t != nil {
			e = t.entry(i)
		}
		v, changed := change(e, e&l1e&entryCopied != 0)
		if !changed {
			continue
		}
		if !mine {
			var err error
			if t, err = im.ownL2(i1); err != nil {
				return err
			}
			mine = true
		}
		im.l2Cache.put(t, i, v)
		if v&entryOffset == 0 {
			im.releaseEntry(e, reason)
		}
	}
	return nil
}

// Discard frees whole clusters. They read as zeroes afterwards; where version 2 could not
// say so, because of a backing file, nothing is done.
func (im *Image) Discard(off, n int64) error {
	if err := im.checkWritable("discard"); err != nil {
		return err
	}
	if err := im.checkRange("discard", off, n); err != nil || !im.mode.Unmap {
		return err
	}
	return im.tracked(off, n, func() error { return im.discardGuest(off, n, discardRequest) })
}

func (im *Image) discardGuest(off, n int64, reason discardReason) error {
	if !im.v3() && im.hasBacking() {
		return nil
	}
	skip := func(int64, int64) error { return nil }
	return im.eachAligned(off, n, skip, func(off, n int64) (int64, error) {
		return im.changeClusters(off, n, func(e uint64, _ bool) (uint64, bool) {
			switch im.classify(e) {
			case clusterZero:
				return e, false
			case clusterUnallocated:
				if !im.hasBacking() {
					return e, false
				}
			}
			if im.v3() {
				return entryZero, true
			}
			return 0, true
		}, reason)
	})
}
