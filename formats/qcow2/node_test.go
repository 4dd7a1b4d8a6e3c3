package qcow2

import (
	"io"
	"sync"

	"github.com/qmon/qmon/blockdev"
)

// memory is a file in memory.
type memory struct {
	mu   sync.Mutex
	data []byte
}

func (m *memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off < 0 || off+int64(len(p)) > int64(len(m.data)) {
		return 0, io.ErrUnexpectedEOF
	}
	return copy(p, m.data[off:]), nil
}

func (m *memory) WriteAt(p []byte, off int64) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if end := off + int64(len(p)); end > int64(len(m.data)) {
		m.data = append(m.data, make([]byte, end-int64(len(m.data)))...)
	}
	return copy(m.data[off:], p), nil
}

func (m *memory) Size() int64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	return int64(len(m.data))
}

func (m *memory) Map(off, n int64) (blockdev.Extent, error) {
	return blockdev.Extent{Kind: blockdev.ExtentData, Len: n, Node: m, Host: off}, nil
}

func (m *memory) Flush() error { return nil }
func (m *memory) Close() error { return nil }
