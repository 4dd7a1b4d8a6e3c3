package qcow2

import "github.com/qmon/qmon/blockdev"

// WriteZeroes makes a range read as zeroes: whole subclusters by their table entries, the
// parts at the ends by writing.
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
	part := func(off, n int64) error { return im.zeroPart(off, n, flags) }
	return im.eachAligned(off, n, im.subSize(), part, func(off, n int64) (int64, error) {
		if packed, err := im.packedEnds(off, n); err != nil || packed {
			// As with QEMU all is written, so that the range stays in one piece.
			return im.writeZeroGuest(off, n, flags)
		}
		return im.zeroWhole(off, n, flags)
	})
}

// eachAligned calls whole with what a range has of whole units, again until it has done all
// of them, and part with the parts of units before and behind. The last unit of the disk
// counts as whole if the range reaches the end of the disk.
func (im *Image) eachAligned(off, n, unit int64, part func(off, n int64) error, whole func(off, n int64) (int64, error)) error {
	for n > 0 {
		in := off & (unit - 1)
		length := min(n, unit-in)
		var err error
		if in == 0 && (n >= unit || off+n == im.Size()) {
			length = n
			if off+n != im.Size() {
				length &^= unit - 1
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

// zeroPart zeroes a part of one subcluster: by its flag, if all of it reads as zeroes then,
// else by writing.
func (im *Image) zeroPart(off, n int64, flags blockdev.ZeroFlags) error {
	done, err := im.zeroAround(off, n, flags)
	if err != nil || done {
		return err
	}
	_, err = im.writeZeroGuest(off, n, flags)
	return err
}

// zeroAround makes the whole subcluster around a range read as zeroes, if the rest of it
// does already. It tells if the range does afterwards.
func (im *Image) zeroAround(off, n int64, flags blockdev.ZeroFlags) (bool, error) {
	defer im.lockRange(off, n, true)()
	im.mu.RLock()
	m, err := im.lookup(im.l1.entries, off, n)
	im.mu.RUnlock()
	err = im.judge(err)
	if err != nil || im.raw() || m.kind == clusterNormal || m.kind == clusterCompressed {
		return false, err
	}
	if !im.v3() {
		return im.readsZero(m.kind), nil
	}
	start := off &^ (im.subSize() - 1)
	end := min(start+im.subSize(), im.Size())
	for _, rest := range [][2]int64{{start, off}, {off + n, end}} {
		zero, err := im.rangeReadsZero(rest[0], rest[1])
		if err != nil || !zero {
			return false, err
		}
	}
	return true, im.changeLocked(start, end, im.zeroChange(flags, nil), discardRequest)
}

// rangeReadsZero tells if guest bytes are known to be zeroes, down the chain.
func (im *Image) rangeReadsZero(from, to int64) (bool, error) {
	for from < to {
		st, err := blockdev.BlockStatus(im, from, to-from, nil)
		if err != nil {
			return false, err
		}
		if st.Kind != blockdev.ExtentZero && (st.Kind != blockdev.ExtentUnallocated || st.Undefined) {
			return false, nil
		}
		from += st.Len
	}
	return true, nil
}

func (im *Image) readsZero(k clusterKind) bool {
	switch k {
	case clusterZero, clusterZeroAllocated:
		return true
	case clusterUnallocated, clusterReserved:
		return !im.hasBacking()
	}
	return false
}

// zeroWhole zeroes the leading subclusters of an aligned range, those of whole clusters or
// of a part of one, and says how many bytes it did.
func (im *Image) zeroWhole(off, n int64, flags blockdev.ZeroFlags) (int64, error) {
	if !im.v3() {
		return im.zeroClustersV2(off, n, flags)
	}
	n = im.wholeClustersOrPart(off, n)
	if im.raw() {
		if err := blockdev.WriteZeroes(im.data, off, n, flags); err != nil {
			return 0, err
		}
	}
	packed := false
	n, err := im.changeClusters(off, n, im.zeroChange(flags, &packed), discardRequest)
	if err != nil || !packed {
		return n, err
	}
	return im.writeZeroGuest(off, n, flags)
}

// zeroChange makes subclusters read as zeroes. Compressed clusters have none: where one is
// meant in part it stays, and packed is set.
func (im *Image) zeroChange(flags blockdev.ZeroFlags, packed *bool) entryChange {
	return func(e l2Entry, owned bool, set uint32) (l2Entry, bool) {
		zeroed := im.readsAsZeroes(e, set)
		switch keep := flags&blockdev.ZeroMayUnmap == 0 && owned && im.stored(e); {
		case set != im.allSubclusters() && e.compressed():
			*packed = true
			return e, false
		case set == im.allSubclusters() && !keep:
			return im.withZeroes(l2Entry{}, set), !zeroed || im.stored(e)
		}
		return im.withZeroes(e, set), !zeroed
	}
}

// writeZeroGuest writes zeroes as data.
func (im *Image) writeZeroGuest(off, n int64, flags blockdev.ZeroFlags) (int64, error) {
	if flags&blockdev.ZeroNoFallback != 0 {
		return 0, blockdev.Errorf(blockdev.ErrNotSupported, "write", im.name, "Operation not supported")
	}
	n = min(n, maxZeroBuffer)
	return n, im.writeGuest(make([]byte, n), off)
}

// packedEnds tells if a range ends, or begins, in the middle of a compressed cluster.
func (im *Image) packedEnds(off, n int64) (bool, error) {
	im.mu.RLock()
	defer im.mu.RUnlock()
	for _, at := range []int64{off, off + n} {
		if at&(im.clusterSize-1) == 0 || at >= im.Size() {
			continue
		}
		if e, err := im.entryAt(at); err != nil || e.compressed() {
			return err == nil, err
		}
	}
	return false, nil
}

// wholeClustersOrPart cuts a range so that it has whole clusters only, or lies in one.
func (im *Image) wholeClustersOrPart(off, n int64) int64 {
	in := off & (im.clusterSize - 1)
	switch {
	case in > 0:
		return min(n, im.clusterSize-in)
	case n < im.clusterSize || off+n == im.Size():
		return n
	}
	return n &^ (im.clusterSize - 1)
}

// zeroClustersV2: version 2 has no zero flag. Without a backing file a cluster that is not
// there reads as zeroes; else they have to be written.
func (im *Image) zeroClustersV2(off, n int64, flags blockdev.ZeroFlags) (int64, error) {
	if !im.hasBacking() && flags&blockdev.ZeroMayUnmap != 0 {
		return im.changeClusters(off, n, unmap, discardRequest)
	}
	im.mu.RLock()
	m, err := im.lookup(im.l1.entries, off, n)
	im.mu.RUnlock()
	err = im.judge(err)
	if err != nil || im.readsZero(m.kind) {
		return m.len, err
	}
	return im.writeZeroGuest(off, m.len, flags)
}

// entryChange says what an L2 entry is to become, and if that is another one. owned tells
// it if the cluster is used by nobody else, set which subclusters are meant.
type entryChange func(e l2Entry, owned bool, set uint32) (l2Entry, bool)

// unmap is the change to an entry of nothing.
func unmap(e l2Entry, _ bool, _ uint32) (l2Entry, bool) { return l2Entry{}, e != l2Entry{} }

// changeClusters changes the L2 entries of the leading part of an aligned range, that in
// one L2 table, and releases clusters that are no longer referred to. The result is the
// number of bytes done.
func (im *Image) changeClusters(off, n int64, change entryChange, reason discardReason) (int64, error) {
	n = min(n, im.l2Span()-off%im.l2Span())
	defer im.lockRange(off, n, true)()
	return n, im.changeLocked(off, off+n, change, reason)
}

// changeLocked changes the L2 entries of [off, end), whose clusters are locked. Where that
// ends with the disk, the rest of its last subcluster counts as well.
func (im *Image) changeLocked(off, end int64, change entryChange, reason discardReason) error {
	if end == im.Size() {
		end = (end + im.subSize() - 1) &^ (im.subSize() - 1)
	}
	return im.update(func() error { return im.changeEntries(off, end, change, reason) })
}

// changeEntries changes the L2 entries of the guest bytes [off, end), which lie in one L2
// table. mu is held.
func (im *Image) changeEntries(off, end int64, change entryChange, reason discardReason) error {
	i1 := off / im.l2Span()
	l1e := im.l1.entries[i1]
	var t *table
	if l1e&entryOffset != 0 {
		var err error
		if t, err = im.l2Table(l1e, i1); err != nil {
			return err
		}
	}
	mine := false
	for start := off &^ (im.clusterSize - 1); start < end; start += im.clusterSize {
		i := start >> im.clusterBits & (1<<im.l2Bits - 1)
		var e l2Entry
		if t != nil {
			e = im.entry(t, i)
		}
		set := im.subset(max(off-start, 0), min(end-start, im.clusterSize))
		v, changed := change(e, e.desc&l1e&entryCopied != 0, set)
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
		if im.stored(v) && e.owned() && l1e&entryCopied == 0 {
			v.desc &^= entryCopied // the table was shared, and so is the cluster
		}
		im.putEntry(t, i, v)
		if !im.stored(v) {
			im.releaseEntry(e, reason)
			im.discardData(e, start, reason)
		}
	}
	return nil
}

// discardData tells the host that the external data file needs no storage for the cluster
// that e was the entry of.
func (im *Image) discardData(e l2Entry, start int64, reason discardReason) {
	if !im.external || im.raw() || !im.stored(e) || !im.passDiscard[reason] {
		return
	}
	n := min(im.clusterSize, im.data.Size()-start)
	if n > 0 {
		// A hint: its failure loses nothing.
		_ = blockdev.Discard(im.data, start, n)
	}
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
	if im.raw() {
		return im.zeroGuest(off, n, blockdev.ZeroMayUnmap)
	}
	skip := func(int64, int64) error { return nil }
	return im.eachAligned(off, n, im.clusterSize, skip, func(off, n int64) (int64, error) {
		return im.changeClusters(off, n, func(e l2Entry, _ bool, set uint32) (l2Entry, bool) {
			if !im.stored(e) && !e.compressed() {
				if im.readsAsZeroes(e, set) || !im.hasBacking() {
					return e, false
				}
			}
			if im.v3() {
				return im.withZeroes(l2Entry{}, set), true
			}
			return l2Entry{}, true
		}, reason)
	})
}
