package qcow2

import "github.com/qmon/qmon/blockdev"

// preallocate gives the guest range [from, to) host clusters. A raw data file always has
// them: it shows what lies in it, whatever the tables say.
func (im *Image) preallocate(from, to int64, mode string) error {
	if mode == "" {
		mode = preallocOff
	}
	if im.raw() && mode == preallocOff {
		mode = preallocMetadata
	}
	if mode == preallocOff {
		return nil
	}
	defer im.holes.Store(holesUnknown)
	for off := from &^ (im.clusterSize - 1); off < to; {
		n, err := im.preallocateRun(off, to-off, mode)
		if err != nil {
			return err
		}
		off += n
	}
	if err := im.Flush(); err != nil {
		return err
	}
	return im.extendFile()
}

// preallocateRun allocates clusters at off, which is a cluster's first byte, or passes over
// those that have storage. The new ones read as before: with extended entries their
// subclusters are not in use yet, else they hold zeroes. A raw data file's hold what it has.
func (im *Image) preallocateRun(off, n int64, mode string) (int64, error) {
	n = min(n, im.l2Span()-off%im.l2Span())
	defer im.lockRange(off, n, true)()
	a := allocation{guest: off >> im.clusterBits}
	if im.raw() {
		a.from, a.to = off, off+n // what the file holds is the disk's
	}
	err := im.update(func() error {
		stored, count, err := im.storedRun(a.guest, im.clustersFor(n))
		if err != nil || stored {
			n = min(n, count<<im.clusterBits)
			return err
		}
		a.run, err = im.allocateGuest(a.guest, count, false)
		return err
	})
	if err != nil || a.run.count == 0 {
		return n, err
	}
	if err = im.fillPreallocated(a, mode); err == nil {
		err = im.update(func() error { return im.linkPreallocated(a) })
	}
	if err != nil {
		im.abandon(a)
		return 0, err
	}
	return min(n, a.end(im)-off), nil
}

// storedRun tells if a guest cluster has storage, and how many of up to want clusters of
// its L2 table are like it.
func (im *Image) storedRun(guest, want int64) (stored bool, count int64, err error) {
	l1e := im.l1.entries[guest>>im.l2Bits]
	if l1e&entryOffset == 0 {
		return false, want, nil
	}
	t, err := im.l2Table(l1e, guest>>im.l2Bits)
	if err != nil {
		return false, 0, err
	}
	first := guest & (1<<im.l2Bits - 1)
	has := func(i int64) bool {
		e := im.entry(t, first+i)
		return e.compressed() || im.stored(e)
	}
	stored = has(0)
	for count = 1; count < want && has(count) == stored; count++ {
	}
	return stored, count, nil
}

// fillPreallocated reserves, or writes, the storage of new clusters. Reserved space reads as
// zeroes because it is written, or because the file is as long as it was and then grown. A
// raw data file keeps what it has.
func (im *Image) fillPreallocated(a allocation, mode string) error {
	host, n := a.run.first<<im.clusterBits, a.run.count<<im.clusterBits
	if im.raw() {
		skip := min(max(im.data.Size()-host, 0), n)
		host, n = host+skip, n-skip
	}
	switch {
	case n == 0 || im.raw() && mode == preallocMetadata:
		return nil
	case im.encrypted() && !im.v3():
		return im.writeZeroesAt(host, a.guest<<im.clusterBits, n)
	case mode == preallocFull:
		return writeZeroData(im.data, host, n)
	case mode == preallocMetadata:
		return zeroFile(im.data, host, n, blockdev.ZeroMayUnmap)
	}
	return zeroFile(im.data, host, n, 0)
}

// linkPreallocated is link for clusters that read as before: where they are encrypted, what
// is in them are no zeroes, so the table says that they are.
func (im *Image) linkPreallocated(a allocation) error {
	if err := im.link(a); err != nil || !im.encrypted() || im.extended || !im.v3() {
		return err
	}
	zero := func(e l2Entry, _ bool, set uint32) (l2Entry, bool) { return im.withZeroes(e, set), true }
	return im.changeEntries(a.guest<<im.clusterBits, a.end(im), zero, discardOther)
}

// extendFile makes the file as long as its highest cluster in use, so that nobody who
// reads preallocated clusters meets its end.
func (im *Image) extendFile() error {
	im.mu.RLock()
	end := im.freeHint << im.clusterBits
	im.mu.RUnlock()
	if im.external || end <= im.file.Size() {
		return nil
	}
	if _, ok := im.file.(blockdev.Resizer); !ok {
		_, err := im.file.WriteAt([]byte{0}, end-1)
		return err
	}
	if err := blockdev.Resize(im.file, end, blockdev.ResizeOptions{}); err != nil {
		return &blockdev.Error{Op: "resize", File: im.name, Offset: blockdev.NoOffset, Text: "Could not resize image", Err: err}
	}
	return nil
}
