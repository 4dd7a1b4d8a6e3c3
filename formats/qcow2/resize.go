package qcow2

import (
	"encoding/binary"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// Resize changes the size of the disk. New space reads as zeroes.
func (im *Image) Resize(size int64, o blockdev.ResizeOptions) error {
	if err := im.checkWritable("resize"); err != nil {
		return err
	}
	old := im.Size()
	switch {
	case size < 0 || size%sectorSize != 0:
		return blockdev.Errorf(blockdev.ErrInvalid, "resize", im.name, "The new size must be a multiple of %d", sectorSize)
	case im.l1Needed(size) > maxL1Bytes/8:
		return blockdev.Errorf(blockdev.ErrLimit, "resize", im.name, "Failed to grow the L1 table: File too large")
	case size < old && !o.Shrink:
		return blockdev.Errorf(blockdev.ErrInvalid, "resize", im.name, "Shrinking an image must be asked for")
	case size < old && o.Preallocation != "" && o.Preallocation != preallocOff:
		return blockdev.Errorf(blockdev.ErrInvalid, "resize", im.name, "Preallocation can't be used for shrinking an image")
	}
	if err := im.resize(size); err != nil {
		return err
	}
	if size > old {
		if err := im.preallocate(old, size, o.Preallocation); err != nil {
			return err
		}
	}
	return im.fitDataFile(size)
}

// resize changes the size in the header after, or before, what lies behind the end is
// dealt with: at no time does the disk show anything but its contents or zeroes.
func (im *Image) resize(size int64) error {
	return im.exclusive(func() error {
		old := im.Size()
		if !im.v3() && len(im.snaps) > 0 {
			return blockdev.Errorf(blockdev.ErrNotSupported, "resize", im.name, "Can't resize a v2 image which has snapshots")
		}
		if err := im.commitAll(); err != nil {
			return err
		}
		if err := im.prepareBitmapsForResize(size); err != nil {
			return err
		}
		if size < old {
			return im.shrink(size)
		}
		// A VM state behind the old end would become part of the disk.
		if err := im.dropAndCommit(old); err != nil {
			return err
		}
		if need := im.l1Needed(size); need > int64(len(im.l1.entries)) {
			if err := im.growL1(need); err != nil {
				return blockdev.Because("Failed to grow the L1 table", err)
			}
		}
		if err := im.zeroNewSpace(old, size); err != nil {
			return err
		}
		return im.setDisk(im.l1.off, len(im.l1.entries), size)
	})
}

// shrink makes the disk end at size, then frees what lies behind that. commitMu and mu are
// held.
func (im *Image) shrink(size int64) error {
	whole := im.l1Needed(size) < im.l1Needed(im.Size()) // L2 tables are among it
	if err := im.setDisk(im.l1.off, len(im.l1.entries), size); err != nil {
		return blockdev.Because("Failed to update the image size", err)
	}
	if err := im.dropBeyond(size, discardShrink); err != nil {
		return blockdev.Because("Failed to discard cropped clusters", err)
	}
	if whole {
		im.raise(blockdev.EventL1ShrinkWriteTable)
	}
	if err := im.commitLocked(); err != nil {
		return blockdev.Because("Failed to reduce the number of L2 tables", err)
	}
	if whole {
		im.raise(blockdev.EventL1ShrinkFreeL2Clusters)
	}
	if err := im.cutFile(); err != nil {
		return blockdev.Because("Failed to discard unused refblocks", err)
	}
	return nil
}

func (im *Image) dropAndCommit(size int64) error {
	if err := im.dropBeyond(size, discardShrink); err != nil {
		return err
	}
	return im.commitAll()
}

// zeroNewSpace hides what would appear when the disk grows: the rest of its last cluster,
// and the part of a backing file that the disk did not reach.
func (im *Image) zeroNewSpace(old, size int64) error {
	if in := old & (im.clusterSize - 1); in != 0 {
		if err := im.zeroTail(old); err != nil {
			return err
		}
		old += im.clusterSize - in
	}
	end := min(size, im.backingEnd())
	for off := old; off < end; {
		n := im.clustersFor(min(end-off, im.l2Span()-off%im.l2Span()))
		n, err := im.hideBacking(off, n)
		if err != nil {
			return err
		}
		if err := im.makeRoom(); err != nil {
			return err
		}
		off += n << im.clusterBits
	}
	return im.commitAll()
}

// hideBacking makes up to n unallocated clusters of one L2 table read as zeroes, and says
// how many. Version 2 has no other way than to write them.
func (im *Image) hideBacking(off, n int64) (int64, error) {
	if im.v3() {
		hide := func(e l2Entry, _ bool, set uint32) (l2Entry, bool) {
			if e.compressed() {
				return e, false
			}
			set &^= im.held(e) | e.zeroed()
			return im.withZeroes(e, set), set != 0 && !im.readsAsZeroes(e, set)
		}
		return n, im.changeEntries(off, off+n<<im.clusterBits, hide, discardOther)
	}
	run, err := im.allocateGuest(off>>im.clusterBits, n, false)
	if err != nil {
		return 0, err
	}
	if err = im.writeZeroesAt(run.first<<im.clusterBits, off, run.count<<im.clusterBits); err == nil {
		err = im.link(im.filled(off>>im.clusterBits, run))
	}
	if err != nil {
		im.giveBack(run)
	}
	return run.count, err
}

// filled is the allocation of clusters that get data in all of their subclusters.
func (im *Image) filled(guest int64, run clusterRun) allocation {
	a := allocation{guest: guest, run: run}
	a.from, a.to = guest<<im.clusterBits, a.end(im)
	return a
}

// zeroTail makes what the last cluster of the disk holds behind its end at old read as
// zeroes: subclusters by their flags, the rest by writing.
func (im *Image) zeroTail(old int64) error {
	end := (old + im.clusterSize - 1) &^ (im.clusterSize - 1)
	if sub := (old + im.subSize() - 1) &^ (im.subSize() - 1); sub < end && im.extended {
		e, err := im.entryAt(old)
		if err != nil {
			return err
		}
		if !e.compressed() {
			if im.held(e)&im.subset(sub&(im.clusterSize-1), im.clusterSize) != 0 || im.backingEnd() > sub {
				zero := func(e l2Entry, _ bool, set uint32) (l2Entry, bool) { return im.withZeroes(e, set), true }
				if err := im.changeEntries(sub, end, zero, discardOther); err != nil {
					return err
				}
			}
			end = sub
		}
	}
	if old == end {
		return nil
	}
	m, err := im.lookup(im.l1.entries, old, end-old)
	if err != nil {
		return err
	}
	switch {
	case m.kind == clusterZero || m.kind == clusterZeroAllocated:
		return nil
	case (m.kind == clusterUnallocated || m.kind == clusterReserved) && im.backingEnd() <= old:
		return nil
	case m.inPlace():
		return im.writeData(make([]byte, end-old), m.host, old)
	}
	return im.rewriteTail(old)
}

// entryAt is the L2 entry of the guest cluster at off.
func (im *Image) entryAt(off int64) (l2Entry, error) {
	l1e := im.l1.entries[off/im.l2Span()]
	if l1e&entryOffset == 0 {
		return l2Entry{}, nil
	}
	t, err := im.l2Table(l1e, off/im.l2Span())
	if err != nil {
		return l2Entry{}, err
	}
	return im.entry(t, off>>im.clusterBits&(1<<im.l2Bits-1)), nil
}

// rewriteTail gives the cluster that the disk ends in at old new storage, with zeroes
// behind the end.
func (im *Image) rewriteTail(old int64) error {
	start := old &^ (im.clusterSize - 1)
	buf := make([]byte, im.clusterSize)
	for off := start; off < old; {
		m, err := im.lookup(im.l1.entries, off, old-off)
		if err != nil {
			return err
		}
		if err := im.readMapped(im.active(), m, buf[off-start:off-start+m.len], off); err != nil {
			return err
		}
		off += m.len
	}
	run, err := im.allocateGuest(start>>im.clusterBits, 1, true)
	if err != nil {
		return err
	}
	a := im.filled(start>>im.clusterBits, run)
	if err = im.writeData(buf, run.first<<im.clusterBits, start); err == nil {
		err = im.link(a)
	}
	if err != nil {
		im.giveBackGuest(a)
	}
	return err
}

// backingEnd is where the backing file ends, 0 without one.
func (im *Image) backingEnd() int64 {
	if b := im.Backing(); b != nil {
		return b.Size()
	}
	return 0
}

// dropBeyond unmaps all guest clusters from off on, the VM state included. The parts of a
// cluster that off lies in stay. mu is held.
func (im *Image) dropBeyond(off int64, reason discardReason) error {
	off = (off + im.clusterSize - 1) &^ (im.clusterSize - 1)
	i := off / im.l2Span()
	if off%im.l2Span() != 0 {
		if i < int64(len(im.l1.entries)) && im.l1.entries[i]&entryOffset != 0 {
			if err := im.changeEntries(off, (i+1)*im.l2Span(), unmap, reason); err != nil {
				return err
			}
		}
		i++
	}
	for ; i < int64(len(im.l1.entries)); i++ {
		e := im.l1.entries[i]
		if e == 0 {
			continue
		}
		_ = im.dropReferences([]uint64{e}, reason) // leaked where that fails
		im.setL1(i, 0)
	}
	return nil
}

// MakeEmpty forgets all guest data: every cluster comes from the backing file again, or
// reads as zeroes. Snapshots stay.
func (im *Image) MakeEmpty() error {
	if err := im.checkWritable("write"); err != nil {
		return err
	}
	im.raise(blockdev.EventEmptyImagePrepare)
	return im.exclusive(func() error { return im.dropAndCommit(0) })
}

// growL1 moves the L1 table to where it has room for n entries. commitMu and mu are held.
func (im *Image) growL1(n int64) error {
	entries := make([]uint64, n)
	copy(entries, im.l1.entries)
	return im.replaceL1(entries, im.Size())
}

// replaceL1 writes an L1 table to a new place and makes the header point to it, together
// with the size of the disk. commitMu and mu are held.
func (im *Image) replaceL1(entries []uint64, size int64) error {
	raise := func(e blockdev.Event) {
		if len(entries) > len(im.l1.entries) {
			im.raise(e)
		}
	}
	raise(blockdev.EventL1GrowAllocTable)
	run, err := im.allocate("", im.clustersFor(int64(len(entries))*8), true)
	if err != nil {
		return err
	}
	off := run.first << im.clusterBits
	raise(blockdev.EventL1GrowWriteTable)
	if _, err = im.file.WriteAt(encodeEntries(entries), off); err == nil {
		// The commit makes the new table durable too, and with it all that it refers to.
		err = im.commitLocked()
	}
	if err != nil {
		im.giveBack(run)
		return err
	}
	old, oldClusters := im.l1.off, im.clustersFor(int64(im.hdr.l1Size)*8)
	raise(blockdev.EventL1GrowActivateTable)
	if err := im.setDisk(off, len(entries), size); err != nil {
		im.giveBack(run)
		return err
	}
	im.l1 = l1Table{off: off, entries: entries, dirty: map[int]struct{}{}}
	im.release(old>>im.clusterBits, oldClusters, 1, discardOther)
	return nil
}

// setDisk changes the size of the disk and the place of the L1 table in the header: all in
// one sector, so together.
func (im *Image) setDisk(l1Offset int64, l1Size int, size int64) error {
	if l1Size > maxL1Bytes/8 {
		return fmt.Errorf("qcow2: L1 table of %d entries", l1Size)
	}
	h := *im.hdr
	h.size, h.l1Offset, h.l1Size = size, l1Offset, uint32(l1Size)
	var b [offRefTableOffset - offSize]byte
	binary.BigEndian.PutUint64(b[0:], uint64(h.size))
	binary.BigEndian.PutUint32(b[offCryptMethod-offSize:], h.cryptMethod)
	binary.BigEndian.PutUint32(b[offL1Size-offSize:], h.l1Size)
	binary.BigEndian.PutUint64(b[offL1Offset-offSize:], uint64(h.l1Offset))
	if err := im.changeHeader(offSize, b[:]); err != nil {
		return err
	}
	*im.hdr = h
	im.size.Store(size)
	return im.resizeBitmaps(size)
}
