package sheepdog

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// Resize makes the disk larger. A smaller one would keep objects that nothing shows.
func (m *Image) Resize(size int64, o blockdev.ResizeOptions) error {
	m.gate.Lock()
	defer m.gate.Unlock()
	if err := m.checkWritable("resize"); err != nil {
		return err
	}
	h := m.index.header()
	old := int64(h.Size)
	switch {
	case o.Preallocation != "" && o.Preallocation != "off" && o.Preallocation != "full":
		return invalidPreallocation("resize", m.file, o.Preallocation)
	case size < old:
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", m.file, "shrinking is not supported")
	case size > p.MaxSize(h.Shift):
		return tooLarge("resize", m.file, size, h.Shift)
	}
	if err := m.grow(h, size); err != nil {
		return m.fail("resize", blockdev.NoOffset, err)
	}
	if o.Preallocation == "full" && size > old {
		return m.fail("resize", old, m.preallocate(uint32(old>>h.Shift), p.Objects(size, h.Shift)))
	}
	return nil
}

func invalidPreallocation(op, file, mode string) error {
	return blockdev.Errorf(blockdev.ErrInvalid, op, file, "Invalid preallocation mode: '%s'", mode)
}

func tooLarge(op, file string, size int64, shift uint8) error {
	return blockdev.Errorf(blockdev.ErrLimit, op, file,
		"An image is too large. The maximum image size is %d bytes with objects of %d bytes", p.MaxSize(shift), int64(1)<<shift)
}

// grow makes the disk longer. Table entries behind the old end, which a client that shrank
// the disk left, are cleared first: what is new reads as zeroes.
func (m *Image) grow(h p.Inode, size int64) error {
	x := m.index
	first, last := h.Objects(), p.Objects(size, h.Shift)
	more, err := loadTable(m.client, h.VID, first, last-first)
	if err != nil {
		return err
	}
	x.mu.Lock()
	x.table = append(x.table, more...)
	x.mu.Unlock()
	for i := first; i < last && err == nil; i++ {
		if x.owner(i) != 0 {
			err = x.setOwner(i, 0)
		}
	}
	if err == nil {
		field := binary.LittleEndian.AppendUint64(nil, uint64(size))
		err = m.client.writeObject(p.InodeID(h.VID), field, p.OffsetSize, 0)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if err != nil {
		x.table = x.table[:first]
		return err
	}
	x.inode.Size = uint64(size)
	return nil
}

// preallocate gives each object in the range storage of its own, one after the other: a
// hole by writing zeroes, an ancestor's object by writing a byte that it has already.
func (m *Image) preallocate(first, last uint32) error {
	shift := m.index.header().Shift
	return inParallel(objectRange(first, last), func(c piece) error {
		switch m.index.owner(c.index) {
		case m.index.vid():
			return nil
		case 0:
			for off := int64(0); off < 1<<shift; off += maxPiece {
				n := min(maxPiece, 1<<shift-off)
				if err := m.writePiece(c.index, zeroBytes[:n], uint32(off)); err != nil {
					return err
				}
			}
			return nil
		}
		var b [1]byte
		if err := m.index.readPiece(c.index, b[:], 0); err != nil {
			return err
		}
		return m.writePiece(c.index, b[:], 0)
	})
}
