package qcow2

import "github.com/qmon/qmon/blockdev"

// snapshotNode is a snapshot's disk and VM state, read-only, beside the image in use.
type snapshotNode struct {
	im   *Image
	snap *snapshot
	l1   []uint64
	size int64
}

var (
	_ blockdev.Node         = (*snapshotNode)(nil)
	_ blockdev.Backed       = (*snapshotNode)(nil)
	_ blockdev.VMStateStore = (*snapshotNode)(nil)
	_ blockdev.Limiter      = (*snapshotNode)(nil)
)

// OpenSnapshot opens a snapshot, found by ID, else by name. It cannot be deleted while it
// is open.
func (im *Image) OpenSnapshot(id string) (blockdev.Node, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	s, err := im.findSnapshot(id)
	if err != nil {
		return nil, err
	}
	l1, err := im.snapshotL1(s)
	if err != nil {
		return nil, err
	}
	s.users++
	return &snapshotNode{im: im, snap: s, l1: l1, size: s.diskSize}, nil
}

// ReadAt reads the disk of the snapshot.
func (n *snapshotNode) ReadAt(p []byte, off int64) (int, error) {
	if err := n.checkRange("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	return n.read(p, off)
}

func (n *snapshotNode) read(p []byte, off int64) (int, error) {
	v := view{func() []uint64 { return n.l1 }, n.size}
	if err := n.im.readGuest(v, p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (n *snapshotNode) checkRange(op string, off, length int64) error {
	if off < 0 || length < 0 || off > n.size-length {
		return blockdev.ErrorAt(blockdev.ErrRange, op, n.im.name, off, "Request of %d bytes is outside the snapshot of %d", length, n.size)
	}
	return nil
}

// WriteAt fails.
func (n *snapshotNode) WriteAt([]byte, int64) (int, error) { return 0, n.readOnly() }

func (n *snapshotNode) readOnly() error {
	return blockdev.Errorf(blockdev.ErrReadOnly, "write", n.im.name, "Block node is read-only")
}

// Size is the disk size of the snapshot.
func (n *snapshotNode) Size() int64 { return n.size }

// Map is the image's, through the snapshot's L1 table.
func (n *snapshotNode) Map(off, length int64) (blockdev.Extent, error) {
	if err := n.checkRange("map", off, length); err != nil {
		return blockdev.Extent{}, err
	}
	n.im.mu.RLock()
	defer n.im.mu.RUnlock()
	return n.im.mapExtent(n.l1, off, length)
}

// ReadOpaque reads from a compressed cluster.
func (n *snapshotNode) ReadOpaque(p []byte, off int64) error {
	_, err := n.ReadAt(p, off)
	return err
}

// Flush has nothing to do.
func (n *snapshotNode) Flush() error { return nil }

// Close lets the snapshot be deleted again.
func (n *snapshotNode) Close() error {
	n.im.mu.Lock()
	defer n.im.mu.Unlock()
	if n.snap != nil {
		n.snap.users--
		n.snap = nil
	}
	return nil
}

// The backing file of a snapshot is the image's.

func (n *snapshotNode) BackingReference() blockdev.Reference { return n.im.BackingReference() }
func (n *snapshotNode) Backing() blockdev.Node               { return n.im.Backing() }
func (n *snapshotNode) SetBacking(b blockdev.Node)           { n.im.SetBacking(b) }

// ChangeBackingReference fails: a snapshot is read-only.
func (n *snapshotNode) ChangeBackingReference(string, string) error { return n.readOnly() }

// Limits are the image's.
func (n *snapshotNode) Limits() blockdev.Limits { return n.im.Limits() }

// ReadVMState reads the machine's state in the snapshot.
func (n *snapshotNode) ReadVMState(p []byte, off int64) (int, error) {
	if off < 0 || off > maxHostOffset {
		return 0, blockdev.ErrorAt(blockdev.ErrRange, "read", n.im.name, off, "VM state offset is out of range")
	}
	return n.read(p, n.im.vmStateBase(n.size)+off)
}

// WriteVMState fails.
func (n *snapshotNode) WriteVMState([]byte, int64) (int, error) { return 0, n.readOnly() }

// DiscardVMState fails.
func (n *snapshotNode) DiscardVMState() error { return n.readOnly() }
