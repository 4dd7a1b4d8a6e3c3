package sheepdog

import (
	"sync"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// openSnapshots counts who has a snapshot open, so that it is not deleted meanwhile.
type openSnapshots struct {
	mu    sync.Mutex
	users map[p.VID]int
}

func (o *openSnapshots) change(v p.VID, by int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.users == nil {
		o.users = map[p.VID]int{}
	}
	o.users[v] += by
}

func (o *openSnapshots) used(v p.VID) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.users[v] > 0
}

// OpenSnapshot opens a snapshot read-only.
func (m *Image) OpenSnapshot(id string) (blockdev.Node, error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	n, err := m.findSnapshot(id)
	if err != nil {
		return nil, m.fail("snapshot", blockdev.NoOffset, err)
	}
	x, err := loadIndex(m.client, n.VID)
	if err != nil {
		return nil, m.fail("snapshot", blockdev.NoOffset, err)
	}
	m.snapshots.change(n.VID, 1)
	return &snapshotNode{image: m, index: x}, nil
}

// snapshotNode is a snapshot of an open image.
type snapshotNode struct {
	image *Image
	index *index
	once  sync.Once
}

var (
	_ blockdev.Node         = (*snapshotNode)(nil)
	_ blockdev.VMStateStore = (*snapshotNode)(nil)
)

// ReadAt reads the disk of the snapshot.
func (s *snapshotNode) ReadAt(b []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", s, off, int64(len(b))); err != nil {
		return 0, err
	}
	if err := s.index.read(b, off); err != nil {
		return 0, s.image.fail("read", off, err)
	}
	return len(b), nil
}

func (s *snapshotNode) readOnly() error {
	return blockdev.Errorf(blockdev.ErrReadOnly, "write", s.image.file, "Block node is read-only")
}

// WriteAt fails.
func (s *snapshotNode) WriteAt([]byte, int64) (int, error) { return 0, s.readOnly() }

// Size is that of the disk when the snapshot was made.
func (s *snapshotNode) Size() int64 { return s.index.size() }

// Map knows holes from the inode.
func (s *snapshotNode) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", s, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	return s.index.extent(s, off, n), nil
}

// Flush has nothing to do.
func (s *snapshotNode) Flush() error { return nil }

// Close lets the snapshot be deleted.
func (s *snapshotNode) Close() error {
	s.once.Do(func() { s.image.snapshots.change(s.index.vid(), -1) })
	return nil
}

// ReadVMState reads the machine's state in the snapshot.
func (s *snapshotNode) ReadVMState(b []byte, off int64) (int, error) {
	h := s.index.header()
	if err := checkVMState(s.image.file, "read", h.Shift, off, int64(len(b))); err != nil || len(b) == 0 {
		return 0, err
	}
	last := p.Objects(int64(h.VMStateSize), h.Shift)
	if err := readVMState(s.image.client, h, b, off, func(i uint32) bool { return i < last }); err != nil {
		return 0, s.image.fail("read", off, err)
	}
	return len(b), nil
}

// WriteVMState fails.
func (s *snapshotNode) WriteVMState([]byte, int64) (int, error) { return 0, s.readOnly() }

// DiscardVMState fails.
func (s *snapshotNode) DiscardVMState() error { return s.readOnly() }
