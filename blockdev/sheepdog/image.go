package sheepdog

import (
	"context"
	"errors"
	"sync"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// Image is an open VDI: the working one of its name, or a snapshot, which is read-only.
type Image struct {
	client *client
	file   string // for errors
	name   vdiName
	unmap  bool

	// gate is shared by requests; who changes which VDI this is, or its size, has it alone.
	gate  sync.RWMutex
	index *index
	// writable is set while the VDI is locked.
	writable bool
	objects  objectLocks
	state    vmState

	snapshots openSnapshots
}

var (
	_ blockdev.Node           = (*Image)(nil)
	_ blockdev.ZeroWriter     = (*Image)(nil)
	_ blockdev.Discarder      = (*Image)(nil)
	_ blockdev.Resizer        = (*Image)(nil)
	_ blockdev.Reopener       = (*Image)(nil)
	_ blockdev.Limiter        = (*Image)(nil)
	_ blockdev.AllocatedSizer = (*Image)(nil)
	_ blockdev.Snapshotter    = (*Image)(nil)
	_ blockdev.VMStateStore   = (*Image)(nil)
)

func open(ctx context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	s, err := parseSettings(r.Options)
	if err != nil {
		return nil, err
	}
	m := &Image{file: r.Filename, name: s.vdiName, unmap: r.Mode.Unmap}
	if m.file == "" {
		m.file = s.vdi
	}
	if m.name.isSnapshot() && r.Mode.Writable && !r.Mode.AutoReadOnly {
		return nil, blockdev.Errorf(blockdev.ErrReadOnly, "open", m.file, "a snapshot can only be opened read-only")
	}
	if m.client, err = dial(ctx, m.file, s.gateways, s.timeout, s.reconnect); err != nil {
		return nil, err
	}
	if err := m.open(r.Mode.Writable && !m.name.isSnapshot(), s.breakLock); err != nil {
		m.client.close()
		return nil, m.fail("open", blockdev.NoOffset, err)
	}
	return m, nil
}

// open finds the VDI, locks it for writing, and reads its inode.
func (m *Image) open(writable, breakLock bool) error {
	if writable && breakLock {
		v, err := m.client.lookup(m.name)
		if err == nil {
			err = m.client.release(v)
		}
		if err != nil {
			return err
		}
	}
	find := m.client.lookup
	if writable {
		find = m.client.lock
	}
	v, err := find(m.name)
	if err != nil {
		return err
	}
	m.index, err = loadIndex(m.client, v)
	if err == nil && m.index.inode.IsSnapshot() != m.name.isSnapshot() {
		err = protocolError("the Sheepdog server takes a snapshot for a working VDI, or the other way round")
	}
	if err != nil && writable {
		_ = m.client.release(v) // the reason for giving up is reported instead
	}
	m.writable = writable && err == nil
	return err
}

// kinds are the kinds of error that results are.
var kinds = map[p.Result]error{
	p.VDILocked: blockdev.ErrInUse, p.NoVDI: blockdev.ErrNotFound, p.NoTag: blockdev.ErrNotFound,
	p.VDIExists: blockdev.ErrExists, p.NoSpace: blockdev.ErrNoSpace, p.ReadOnly: blockdev.ErrReadOnly,
	p.NoObject: blockdev.ErrCorrupt, p.NoBaseVDI: blockdev.ErrNotFound,
}

// fail says where an error happened, and of what kind it is.
func (m *Image) fail(op string, off int64, err error) error { return fail(m.file, op, off, err) }

func fail(file, op string, off int64, err error) error {
	if err == nil {
		return nil
	}
	e := &blockdev.Error{Op: op, File: file, Offset: off, Err: err}
	var r p.Result
	if errors.As(err, &r) {
		e.Kind = kinds[r]
	}
	return e
}

// Writable tells if the VDI is locked for writing.
func (m *Image) Writable() bool {
	m.gate.RLock()
	defer m.gate.RUnlock()
	return m.writable
}

// checkWritable is called with the gate held.
func (m *Image) checkWritable(op string) error {
	if !m.writable {
		return blockdev.Errorf(blockdev.ErrReadOnly, op, m.file, "Block node is read-only")
	}
	return nil
}

// ReopenWritable locks the working VDI, or gives the lock back.
func (m *Image) ReopenWritable(writable bool) error {
	m.gate.Lock()
	defer m.gate.Unlock()
	switch {
	case writable == m.writable:
		return nil
	case m.name.isSnapshot():
		return blockdev.Errorf(blockdev.ErrReadOnly, "open", m.file, "a snapshot can only be opened read-only")
	case writable:
		return m.fail("open", blockdev.NoOffset, m.open(true, false))
	}
	m.writable = false
	return m.fail("close", blockdev.NoOffset, m.client.release(m.index.vid()))
}

// Size is the VDI's.
func (m *Image) Size() int64 {
	m.gate.RLock()
	defer m.gate.RUnlock()
	return m.index.size()
}

// Limits: a whole object is what can be given back.
func (m *Image) Limits() blockdev.Limits {
	m.gate.RLock()
	defer m.gate.RUnlock()
	n := m.index.header().ObjectSize()
	return blockdev.Limits{ZeroAlignment: n, DiscardAlignment: n, OptimalTransfer: n}
}

// AllocatedSize counts the objects that no snapshot or ancestor shares.
func (m *Image) AllocatedSize() (int64, error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	return m.index.allocated() * m.index.header().ObjectSize(), nil
}

// Map knows holes from the inode.
func (m *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", m, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	m.gate.RLock()
	defer m.gate.RUnlock()
	return m.index.extent(m, off, n), nil
}

// extent is Map of the disk that node shows.
func (x *index) extent(node blockdev.Node, off, n int64) blockdev.Extent {
	h := x.header()
	first := uint32(off >> h.Shift)
	count, hole := x.run(first, p.Objects(off+n, h.Shift))
	e := blockdev.Extent{Kind: blockdev.ExtentData, Node: node, Host: off}
	if hole {
		e = blockdev.Extent{Kind: blockdev.ExtentZero}
	}
	e.Len = min(n, int64(first+count)<<h.Shift-off)
	return e
}

// Flush asks the server to flush, where it can: one without a cache has every write it
// answered on its disks.
func (m *Image) Flush() error {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if !m.writable {
		return nil
	}
	return m.fail("flush", blockdev.NoOffset, m.client.flush())
}

// Close flushes, gives the lock back and ends the connection.
func (m *Image) Close() error {
	err := m.Flush()
	m.gate.Lock()
	defer m.gate.Unlock()
	if m.writable {
		m.writable = false
		if !errors.Is(err, errLost) { // who could not be reached a moment ago is not asked again
			err = errors.Join(err, m.client.release(m.index.vid()))
		}
		if err != nil {
			err = m.unlockError(err)
		}
	}
	m.client.close()
	return err
}

// unlockError says that the lock may be left.
func (m *Image) unlockError(err error) error {
	return &blockdev.Error{Op: "close", File: m.file, Offset: blockdev.NoOffset, Err: err,
		Text: "VDI may still be locked (the option break-lock=on takes the lock over)"}
}
