package qcow2

import "github.com/qmon/qmon/blockdev"

// ReadAt reads guest bytes.
func (im *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := im.checkRange("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	defer im.lockRange(off, int64(len(p)), false)()
	if err := im.readGuest(im.active(), p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// lockRange locks the clusters of a guest range.
func (im *Image) lockRange(off, n int64, exclusive bool) (unlock func()) {
	return im.ranges.Lock(off>>im.clusterBits, (off+n-1)>>im.clusterBits+1, exclusive)
}

// view is what guest bytes are read through: the present contents or a snapshot's.
type view struct {
	l1   func() []uint64 // the L1 table; called with mu held
	size int64           // of the disk
}

// active is the view of the present contents.
func (im *Image) active() view {
	return view{func() []uint64 { return im.l1.entries }, im.Size()}
}

// readGuest reads guest bytes, in the disk or in the VM state area behind it. The caller
// keeps the clusters from being freed.
func (im *Image) readGuest(v view, p []byte, off int64) error {
	for len(p) > 0 {
		im.mu.RLock()
		m, err := im.lookup(v.l1(), off, int64(len(p)))
		im.l2Cache.trim()
		im.mu.RUnlock()
		if err != nil {
			return im.judge(err)
		}
		if err := im.readMapped(v, m, p[:m.len], off); err != nil {
			return err
		}
		p, off = p[m.len:], off+m.len
	}
	return nil
}

func (im *Image) readMapped(v view, m mapping, p []byte, off int64) error {
	switch m.kind {
	case clusterNormal:
		im.raise(blockdev.EventReadAIO)
		return im.readData(p, m.host, off)
	case clusterCompressed:
		return im.readCompressed(m.entry.desc, p, off&(im.clusterSize-1))
	case clusterUnallocated, clusterReserved:
		return im.readBacking(v, p, off)
	}
	clear(p)
	return nil
}

// readBacking reads what the image does not have: from the backing node, zeroes past its
// end, past the end of the disk, or without one.
func (im *Image) readBacking(v view, p []byte, off int64) error {
	var n int64
	b := im.Backing()
	if b != nil {
		n = min(max(min(b.Size(), v.size)-off, 0), int64(len(p)))
	}
	clear(p[n:])
	if n == 0 {
		return nil
	}
	im.raise(blockdev.EventReadBackingAIO)
	_, err := b.ReadAt(p[:n], off)
	return err
}

// ReadOpaque reads from a compressed cluster.
func (im *Image) ReadOpaque(p []byte, off int64) error {
	if err := im.checkRange("read", off, int64(len(p))); err != nil || len(p) == 0 {
		return err
	}
	defer im.lockRange(off, int64(len(p)), false)()
	return im.readGuest(im.active(), p, off)
}

var _ blockdev.OpaqueReader = (*snapshotNode)(nil)
