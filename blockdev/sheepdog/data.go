package sheepdog

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// ReadAt reads each object from the VDI that owns it.
func (m *Image) ReadAt(b []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", m, off, int64(len(b))); err != nil {
		return 0, err
	}
	m.gate.RLock()
	defer m.gate.RUnlock()
	if err := m.index.read(b, off); err != nil {
		return 0, m.fail("read", off, err)
	}
	return len(b), nil
}

// read fills b from the disk.
func (x *index) read(b []byte, off int64) error {
	if len(b) == 0 {
		return nil
	}
	return inParallel(pieces(x.header().Shift, off, int64(len(b))), func(c piece) error {
		return x.readPiece(c.index, b[c.at:c.at+c.n], uint32(c.off))
	})
}

// readPiece reads from one object. An object that is not there may have been discarded, or
// copied, since the table was read: the entry then names another owner, or none. If it
// does not, data is lost.
func (x *index) readPiece(i uint32, b []byte, off uint32) error {
	owner := x.owner(i)
	for reloaded := false; ; {
		if owner == 0 {
			clear(b)
			return nil
		}
		err := x.client.readObject(p.DataID(owner, i), b, off)
		if !errors.Is(err, p.NoObject) {
			return err
		}
		now := x.owner(i)
		if now == owner && !reloaded {
			reloaded = true
			if now, err = x.fetch(i); err != nil {
				return err
			}
		}
		if now == owner {
			return blockdev.ErrorAt(blockdev.ErrCorrupt, "read", x.client.file, int64(i),
				"object %s is missing, which the table of VDI %s names", p.DataID(owner, i), x.vid())
		}
		owner = now
	}
}

// WriteAt writes b, and grows the disk where it ends behind it.
func (m *Image) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > blockdev.MaxSize-int64(len(b)) {
		return 0, blockdev.ErrorAt(blockdev.ErrRange, "write", m.file, off, "%d bytes end past the largest size", len(b))
	}
	if end := off + int64(len(b)); end > m.Size() {
		if err := m.Resize(end, blockdev.ResizeOptions{}); err != nil {
			return 0, err
		}
	}
	m.gate.RLock()
	defer m.gate.RUnlock()
	if err := m.checkWritable("write"); err != nil || len(b) == 0 {
		return 0, err
	}
	if err := m.write(b, off); err != nil {
		return 0, m.fail("write", off, err)
	}
	return len(b), nil
}

func (m *Image) write(b []byte, off int64) error {
	return inParallel(pieces(m.index.header().Shift, off, int64(len(b))), func(c piece) error {
		return m.writePiece(c.index, b[c.at:c.at+c.n], uint32(c.off))
	})
}

// writePiece writes to one object: beside others if it is there, alone if it has to be
// made first, for making it again would wipe what others wrote, or if an erasure code's
// stripes have to be completed.
func (m *Image) writePiece(i uint32, b []byte, off uint32) error {
	together := m.index.header().CopyPolicy == 0 || !splitsStripe(off, len(b))
	for {
		written := false
		err := m.objects.shared(i, func() error {
			if written = together && m.index.owns(i); !written {
				return nil
			}
			return m.overwrite(i, b, off)
		})
		if err != nil || written {
			return err
		}
		err = m.objects.alone(i, func() error {
			owner, err := m.index.certain(i)
			switch {
			case err != nil:
				return err
			case owner == m.index.vid() && together:
				return nil // somebody else made it meanwhile
			}
			written = true
			if owner == m.index.vid() {
				return m.overwrite(i, b, off)
			}
			return m.allocate(i, owner, b, off)
		})
		if err != nil || written {
			return err
		}
	}
}

func (m *Image) overwrite(i uint32, b []byte, off uint32) error {
	h := m.index.header()
	err := m.client.writeObject(p.DataID(h.VID, i), b, off, h.CopyPolicy)
	if errors.Is(err, p.ReadOnly) {
		return &blockdev.Error{Kind: blockdev.ErrReadOnly, Offset: blockdev.NoOffset, Err: err,
			Text: "another client has taken a snapshot or made a clone of this VDI; open it again"}
	}
	return err
}

// allocate makes object i, as a copy of owner's if it has one, with b in it; then, when it
// is there, the table entry. The caller has the object alone.
func (m *Image) allocate(i uint32, owner p.VID, b []byte, off uint32) error {
	h := m.index.header()
	id := p.DataID(h.VID, i)
	var from p.ObjectID
	if owner != 0 {
		from = p.DataID(owner, i)
	} else if err := m.client.awaitRemoval(id); err != nil {
		return err
	}
	if err := m.client.createObject(id, from, b, off, h.CopyPolicy); err != nil {
		return err
	}
	return m.index.setOwner(i, h.VID)
}

// Discard gives whole objects back; they read as zeroes then. Parts of objects stay.
func (m *Image) Discard(off, n int64) error {
	if err := blockdev.CheckRange("discard", m, off, n); err != nil || n == 0 {
		return err
	}
	m.gate.RLock()
	defer m.gate.RUnlock()
	if err := m.checkWritable("discard"); err != nil || !m.unmap {
		return err
	}
	h := m.index.header()
	first, last := m.wholeObjects(h, off, n)
	return m.fail("discard", off, inParallel(objectRange(first, last), func(c piece) error {
		return m.objects.alone(c.index, func() error { return m.clear(c.index) })
	}))
}

// wholeObjects is the half-open range of objects that lie inside a range; the last one of
// the disk may be shorter than others.
func (m *Image) wholeObjects(h p.Inode, off, n int64) (first, last uint32) {
	first = p.Objects(off, h.Shift)
	last = uint32((off + n) >> h.Shift)
	if off+n == int64(h.Size) {
		last = h.Objects()
	}
	return first, max(first, last)
}

// objectRange are objects as pieces, of no length.
func objectRange(first, last uint32) []piece {
	out := make([]piece, 0, last-first)
	for i := first; i < last; i++ {
		out = append(out, piece{index: i})
	}
	return out
}

// clear makes object i a hole by its table entry: the daemon then drops its reference,
// and removes the object with the last. The caller has the object alone.
func (m *Image) clear(i uint32) error {
	owner, err := m.index.certain(i)
	if err != nil || owner == 0 {
		return err
	}
	return m.index.setOwner(i, 0)
}

// WriteZeroes leaves holes as they are, and makes holes of whole objects where it may.
func (m *Image) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if err := blockdev.CheckRange("write", m, off, n); err != nil || n == 0 {
		return err
	}
	m.gate.RLock()
	defer m.gate.RUnlock()
	if err := m.checkWritable("write"); err != nil {
		return err
	}
	h := m.index.header()
	first, last := m.wholeObjects(h, off, n)
	return m.fail("write", off, inParallel(pieces(h.Shift, off, n), func(c piece) error {
		if flags&blockdev.ZeroMayUnmap != 0 && c.index >= first && c.index < last {
			return m.objects.alone(c.index, func() error { return m.clear(c.index) })
		}
		return m.writeZeroes(c, flags)
	}))
}

// zeroBytes is what writeZeroes sends.
var zeroBytes [maxPiece]byte

func (m *Image) writeZeroes(c piece, flags blockdev.ZeroFlags) error {
	switch {
	case m.index.owner(c.index) == 0:
		return nil
	case flags&blockdev.ZeroNoFallback != 0:
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", m.file, "Operation not supported")
	}
	return m.writePiece(c.index, zeroBytes[:c.n], uint32(c.off))
}
