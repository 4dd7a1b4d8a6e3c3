package sheepdog

import (
	"errors"
	"strconv"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// Snapshots lists the snapshots of the VDI's name, by number.
func (m *Image) Snapshots() ([]blockdev.Snapshot, error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	f, err := listFamily(m.client, m.name.vdi, m.index.vid())
	if err != nil {
		return nil, m.fail("snapshot", blockdev.NoOffset, err)
	}
	out := make([]blockdev.Snapshot, len(f.snapshots))
	for i, n := range f.snapshots {
		out[i] = snapshotOf(n)
	}
	return out, nil
}

// snapshotOf is what the block layer knows of a snapshot.
func snapshotOf(n p.Inode) blockdev.Snapshot {
	return blockdev.Snapshot{
		ID: strconv.FormatUint(uint64(n.SnapID), 10), Name: n.Tag, VMStateSize: int64(n.VMStateSize),
		DiskSize: int64(n.Size), Date: n.SnapTime, VMClock: n.VMClock, ICount: blockdev.NoICount,
	}
}

// findSnapshot reads the inode of the snapshot with a number.
func (m *Image) findSnapshot(id string) (p.Inode, error) {
	number, err := strconv.ParseUint(id, 10, 32)
	if err != nil || number == 0 {
		return p.Inode{}, p.NoTag
	}
	v, err := m.client.lookup(m.name.snapshot(uint32(number)))
	if err != nil {
		return p.Inode{}, err
	}
	n, err := loadInode(m.client, v)
	if err == nil && (!n.IsSnapshot() || n.SnapID != uint32(number)) {
		err = protocolError("the Sheepdog server takes VDI %s for snapshot %s", v, id)
	}
	return n, err
}

// exclusive runs a change of which VDI is the working one, with no request in flight.
func (m *Image) exclusive(op string, f func() error) error {
	m.gate.Lock()
	defer m.gate.Unlock()
	if err := m.checkWritable(op); err != nil {
		return err
	}
	return m.fail(op, blockdev.NoOffset, f())
}

// CreateSnapshot freezes the working VDI, which becomes the snapshot, and goes on with a
// new one that shares its objects. The date is the server's.
//
// Two snapshots may bear one tag, as savevm needs while it replaces one: everything here
// goes by their numbers.
func (m *Image) CreateSnapshot(s blockdev.Snapshot) (blockdev.Snapshot, error) {
	if err := p.CheckName("snapshot tag", s.Name); err != nil {
		return s, m.fail("snapshot", blockdev.NoOffset, err)
	}
	err := m.exclusive("snapshot", func() error {
		old := m.index.header()
		n := old
		n.Tag, n.VMClock, n.VMStateSize = s.Name, s.VMClock, uint64(s.VMStateSize)
		if err := m.writeLabels(n); err != nil {
			return err
		}
		next, err := m.newVDI(n, n.VID, 1)
		if err != nil {
			return errors.Join(err, m.writeLabels(old))
		}
		frozen, err := loadInode(m.client, old.VID)
		if err == nil {
			s = snapshotOf(frozen)
		}
		m.state.made = nil // the snapshot's now
		return errors.Join(err, m.moveTo(old.VID, next))
	})
	return s, err
}

// writeLabels writes what a snapshot is known by, with one request: the tag, the clock and
// the size of the machine's state, and the fields between them as they were.
func (m *Image) writeLabels(n p.Inode) error {
	b := make([]byte, p.InodeHeaderSize)
	n.Encode(b)
	return m.client.writeObject(p.InodeID(n.VID), b[p.OffsetTag:p.OffsetCopyPolicy], p.OffsetTag, 0)
}

// newVDI makes a new working VDI on top of base. The daemon takes over nothing from it but
// the table, so the rest is said. snapID 1 turns the old working VDI into a snapshot. If
// the answer was lost, the VDI may be there already.
func (m *Image) newVDI(like p.Inode, base p.VID, snapID uint32) (p.VID, error) {
	return newVDI(m.client, like, base, snapID, func(n p.Inode) bool {
		return n.VID != m.index.vid() && n.Parent == base
	})
}

// newVDI also finds the VDI that a lost answer was about: made tells it from another.
func newVDI(c *client, like p.Inode, base p.VID, snapID uint32, made func(p.Inode) bool) (p.VID, error) {
	req := p.Request{
		Opcode: p.OpNewVDI, Size: like.Size, BaseVID: base, SnapID: snapID, Copies: like.Copies,
		CopyPolicy: like.CopyPolicy, StorePolicy: like.StorePolicy, Shift: like.Shift,
	}
	payload := p.EncodeName(make([]byte, 0, p.NameSize), like.Name)
	v, err := c.once(req, payload, func() (p.VID, bool, error) {
		found, err := c.lookup(vdiName{vdi: like.Name})
		if err != nil && gone(err) {
			return 0, false, nil
		}
		if err != nil {
			return 0, false, err
		}
		n, err := loadInode(c, found)
		return n.VID, err == nil && made(n), err
	})
	if err == nil && !v.Valid() {
		err = protocolError("the Sheepdog server gives a new VDI the id %#x", uint32(v))
	}
	return v, err
}

// moveTo makes another VDI the working one: the lock goes with it. If it cannot be locked
// the image is read-only from then on.
func (m *Image) moveTo(old, next p.VID) error {
	m.writable = false
	if err := m.client.release(old); err != nil {
		return err
	}
	v, err := m.client.lock(m.name)
	if err != nil {
		return err
	}
	x, err := loadIndex(m.client, v)
	if err == nil && v != next {
		err = protocolError("the working VDI is %s and not %s, which was made", v, next)
	}
	if err != nil {
		return errors.Join(err, m.client.release(v))
	}
	m.index, m.writable = x, true
	return nil
}

// ApplySnapshot makes a new working VDI on top of the snapshot and deletes the old one. At
// no time is there none. Contents that could not be deleted are left as a snapshot without
// a tag.
func (m *Image) ApplySnapshot(id string) error {
	return m.exclusive("snapshot", func() error {
		n, err := m.findSnapshot(id)
		if err != nil {
			return err
		}
		old, state := m.index.header(), m.state.made
		next, err := m.newVDI(n, n.VID, 1)
		if err != nil {
			return err
		}
		m.state.made = nil
		if err := m.moveTo(old.VID, next); err != nil {
			return err
		}
		for i := range state {
			_ = m.removeVMState(old.VID, i) // it takes space, nothing else
		}
		_ = m.remove(old) // what is left is a snapshot that its user sees
		return nil
	})
}

// DeleteSnapshot deletes a snapshot, and sees that it is gone.
func (m *Image) DeleteSnapshot(id string) error {
	return m.exclusive("snapshot", func() error {
		n, err := m.findSnapshot(id)
		if err != nil {
			return err
		}
		if m.snapshots.used(n.VID) {
			return blockdev.Errorf(blockdev.ErrInUse, "snapshot", m.file, "Snapshot '%s' is in use", n.Tag)
		}
		if err := m.remove(n); err != nil {
			return err
		}
		for _, c := range pieces(n.Shift, 0, int64(n.VMStateSize)) {
			if c.off != 0 {
				continue
			}
			if err := m.removeVMState(n.VID, c.index); err != nil {
				return err
			}
		}
		return nil
	})
}

// clearChunk is how much of a table one request clears, in bytes.
const clearChunk = 1 << 20

// remove deletes a snapshot, or what was the working VDI. The daemon deletes nothing as
// long as the table names objects, and says that it did: so the table is cleared first,
// which drops the references, and the name is looked up in the end.
func (m *Image) remove(n p.Inode) error {
	end := p.EntryOffset(n.Objects())
	for off := uint32(p.OffsetTable); off < end; off += clearChunk {
		b := zeroBytes[:min(clearChunk, end-off)]
		if err := m.client.writeObject(p.InodeID(n.VID), b, off, 0); err != nil {
			return err
		}
	}
	name := m.name.snapshot(n.SnapID)
	if err := m.client.deleteVDI(name); err != nil {
		return err
	}
	if _, err := m.client.lookup(name); err == nil {
		return protocolError("the Sheepdog server did not delete snapshot %d", n.SnapID)
	} else if !gone(err) {
		return err
	}
	return nil
}

// gone tells if err says that there is no such VDI or snapshot.
func gone(err error) bool { return errors.Is(err, p.NoTag) || errors.Is(err, p.NoVDI) }
