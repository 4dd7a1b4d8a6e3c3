package qcow2

import (
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// Compressed data is packed: it begins where the last ended, in the middle of a host
// cluster or even of a sector, and runs into the next cluster if that happens to be free.
//
//	host cluster n                host cluster n+1
//	|--A--|----B----|--C--|--D----|--D--|--E--|  free, from im.packed on
//
// Each guest cluster counts one reference to every host cluster that its data touches, so
// here both have refcount 4 and 2. Data is appended only to a cluster that this Image began,
// and no longer once a reference to it was dropped: so bytes in it are never used twice,
// and it is not given back to the host while something is appended.

// WriteCompressed stores one guest cluster compressed, or plainly if that is not shorter.
// As with QEMU it is written once: a cluster that has storage already is refused.
func (im *Image) WriteCompressed(p []byte, off int64) error {
	write, err := im.PrepareCompressed(p, off)
	if err != nil {
		return err
	}
	return write()
}

// PrepareCompressed is the part of WriteCompressed that needs no lock: it compresses.
func (im *Image) PrepareCompressed(p []byte, off int64) (write func() error, err error) {
	if err := im.checkWritable("write"); err != nil {
		return nil, err
	}
	if err := im.checkRange("write", off, int64(len(p))); err != nil {
		return nil, err
	}
	if im.external {
		return func() error { return im.checkInternal("write") }, nil
	}
	n := int64(len(p))
	if off&(im.clusterSize-1) != 0 || n == 0 || n > im.clusterSize || n < im.clusterSize && off+n != im.Size() {
		return nil, blockdev.ErrorAt(blockdev.ErrInvalid, "write", im.name, off, "Compressed writes must be of whole clusters")
	}
	cluster := p
	if n < im.clusterSize {
		cluster = make([]byte, im.clusterSize)
		copy(cluster, p)
	}
	data, err := im.deflaters.compress(im.compression, cluster)
	if err != nil {
		return nil, err
	}
	if data == nil || im.encrypted() {
		// Compressed data would lie there for all to read.
		return func() error {
			return im.tracked(off, n, func() error { return im.writeGuest(p, off) })
		}, nil
	}
	return func() error {
		defer im.deflaters.recycle(data)
		return im.tracked(off, n, func() error { return im.writePacked(*data, off) })
	}, nil
}

// writePacked stores the compressed data of the guest cluster at off.
func (im *Image) writePacked(data []byte, off int64) error {
	defer im.lockRange(off, 1, true)()
	var at int64
	err := im.update(func() (err error) {
		at, err = im.beginPacked(off, int64(len(data)))
		return err
	})
	if err != nil {
		return err
	}
	e := im.compressedEntry(at, int64(len(data)))
	im.raise(blockdev.EventWriteCompressed)
	if _, err = im.file.WriteAt(data, at); err == nil {
		err = im.update(func() error { return im.linkPacked(off>>im.clusterBits, e) })
	}
	if err != nil {
		im.mu.Lock()
		defer im.mu.Unlock()
		im.giveBack(im.compressedClusters(e))
	}
	return err
}

// beginPacked allocates n bytes for the guest cluster at off. mu is held.
func (im *Image) beginPacked(off, n int64) (int64, error) {
	m, err := im.lookup(im.l1.entries, off, 1)
	if err != nil {
		return 0, err
	}
	if m.kind != clusterUnallocated && m.kind != clusterZero {
		return 0, blockdev.ErrorAt(&refusal{blockdev.ErrInvalid, syscall.EIO}, "write", im.name, off, "Input/output error")
	}
	if _, err := im.ownL2(off / im.l2Span()); err != nil {
		return 0, err
	}
	return im.allocateBytes(n)
}

// allocateBytes allocates n bytes, fewer than a cluster has, for compressed data.
func (im *Image) allocateBytes(n int64) (int64, error) {
	im.raise(blockdev.EventClusterAllocBytes)
	open := im.openCluster()
	free := -im.packed & (im.clusterSize - 1)
	if open == 0 || n > free {
		run, err := im.allocate("compressed cluster", 1, true)
		if err != nil {
			return 0, err
		}
		if end := run.end() << im.clusterBits; end > im.compressedLimit() {
			im.giveBack(run)
			return 0, blockdev.ErrorAt(blockdev.ErrNoSpace, "write", im.name, end, "File too large")
		}
		if open == 0 || run.first != open+1 {
			im.packed = run.first << im.clusterBits
			open = 0 // all of the data lies in run, which is counted
		}
	}
	if open != 0 {
		if err := im.addRefcount(open, 1, 1); err != nil {
			return 0, err
		}
	}
	at := im.packed
	im.packed += n
	return at, nil
}

// openCluster is the host cluster that more data can be appended to, 0 if there is none.
func (im *Image) openCluster() int64 {
	if im.packed&(im.clusterSize-1) == 0 {
		return 0
	}
	c := im.packed >> im.clusterBits
	if n, err := im.refcount(c); err != nil || n >= im.refWidth.max() {
		return 0
	}
	return c
}

// closePacked appends nothing more to a cluster of the run.
func (im *Image) closePacked(run clusterRun) {
	if c := im.packed >> im.clusterBits; c >= run.first && c < run.end() {
		im.packed = 0
	}
}

// compressedLimit is the end of what the offset of a compressed cluster can express.
func (im *Image) compressedLimit() int64 {
	return min(int64(1)<<im.compressedOffsetBits(), maxHostOffset)
}

// linkPacked makes a guest cluster refer to its compressed data. mu is held.
func (im *Image) linkPacked(guest int64, e uint64) error {
	t, err := im.ownL2(guest >> im.l2Bits)
	if err != nil {
		return err
	}
	im.raise(blockdev.EventL2UpdateCompressed)
	im.putEntry(t, guest&(1<<im.l2Bits-1), l2Entry{desc: e})
	return nil
}

// padPacked makes the file end with a sector: compressed data is read by sectors.
func (im *Image) padPacked() error {
	end := im.file.Size()
	n := -end & (sectorSize - 1)
	if im.packed == 0 || n == 0 {
		return nil
	}
	_, err := im.file.WriteAt(make([]byte, n), end)
	return err
}
