package sheepdog

import (
	"errors"
	"sync"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// vmState knows which VM state objects the working VDI has. What an earlier client left
// unfinished is replaced.
type vmState struct {
	mu   sync.Mutex
	made map[uint32]bool
}

func checkVMState(file, op string, shift uint8, off, n int64) error {
	if off < 0 || off > p.MaxVMStateSize(shift)-n {
		return blockdev.ErrorAt(blockdev.ErrLimit, op, file, off, "VM state would be too large")
	}
	return nil
}

// ReadVMState reads the state area of the working VDI.
func (m *Image) ReadVMState(b []byte, off int64) (int, error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	h := m.index.header()
	if err := checkVMState(m.file, "read", h.Shift, off, int64(len(b))); err != nil || len(b) == 0 {
		return 0, err
	}
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	err := readVMState(m.client, h, b, off, func(i uint32) bool { return m.state.made[i] })
	if err != nil {
		return 0, m.fail("read", off, err)
	}
	return len(b), nil
}

// readVMState reads a VDI's state; objects that are not there are zeroes.
func readVMState(c *client, h p.Inode, b []byte, off int64, has func(uint32) bool) error {
	return inParallel(pieces(h.Shift, off, int64(len(b))), func(part piece) error {
		dst := b[part.at : part.at+part.n]
		if !has(part.index) {
			clear(dst)
			return nil
		}
		err := c.readObject(p.VMStateID(h.VID, part.index), dst, uint32(part.off))
		if errors.Is(err, p.NoObject) {
			clear(dst)
			return nil
		}
		return err
	})
}

// WriteVMState writes to the state area, which belongs to the VDI that the next snapshot
// keeps.
func (m *Image) WriteVMState(b []byte, off int64) (int, error) {
	m.gate.RLock()
	defer m.gate.RUnlock()
	h := m.index.header()
	if err := m.checkWritable("write"); err != nil {
		return 0, err
	}
	if err := checkVMState(m.file, "write", h.Shift, off, int64(len(b))); err != nil || len(b) == 0 {
		return 0, err
	}
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	for _, c := range pieces(h.Shift, off, int64(len(b))) {
		id, part := p.VMStateID(h.VID, c.index), b[c.at:c.at+c.n]
		var err error
		if m.state.made[c.index] {
			err = m.client.writeObject(id, part, uint32(c.off), h.CopyPolicy)
		} else {
			err = m.client.createObject(id, 0, part, uint32(c.off), h.CopyPolicy)
		}
		if err != nil {
			return 0, m.fail("write", off, err)
		}
		if m.state.made == nil {
			m.state.made = map[uint32]bool{}
		}
		m.state.made[c.index] = true
	}
	return len(b), nil
}

// DiscardVMState removes what the area holds.
func (m *Image) DiscardVMState() error {
	m.gate.RLock()
	defer m.gate.RUnlock()
	if err := m.checkWritable("discard"); err != nil {
		return err
	}
	m.state.mu.Lock()
	defer m.state.mu.Unlock()
	for i := range m.state.made {
		if err := m.removeVMState(m.index.vid(), i); err != nil {
			return m.fail("discard", blockdev.NoOffset, err)
		}
		delete(m.state.made, i)
	}
	return nil
}

// removeVMState removes an object outright: VM state is shared with nobody.
func (m *Image) removeVMState(v p.VID, i uint32) error {
	_, err := m.client.call(p.Request{Opcode: p.OpRemove, OID: p.VMStateID(v, i)}, nil, nil)
	if errors.Is(err, p.NoObject) {
		return nil
	}
	return err
}
