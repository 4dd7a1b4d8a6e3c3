// Package blocktest has nodes for tests of everything over a file:
//
//	Memory     a file in memory that grows, with holes
//	Recorder   a Memory that logs what is done to it, and replays crashes
//	Faulty     any node, with errors where a test wants them
package blocktest

import (
	"slices"
	"sync"

	"github.com/qmon/qmon/blockdev"
)

// pageSize is the unit in which a Memory has data or holes, that of most file systems.
const pageSize = 4096

// page belongs to the Memory that may change it; others that share it copy it first.
type page struct {
	owner *Memory
	data  [pageSize]byte
}

// Memory is a file in memory. It grows when written past its end; what was never written
// is a hole. The zero Memory is an empty file.
type Memory struct {
	mu    sync.RWMutex
	pages map[int64]*page
	size  int64
}

var (
	_ blockdev.Node           = (*Memory)(nil)
	_ blockdev.ZeroWriter     = (*Memory)(nil)
	_ blockdev.Discarder      = (*Memory)(nil)
	_ blockdev.Resizer        = (*Memory)(nil)
	_ blockdev.Reopener       = (*Memory)(nil)
	_ blockdev.AllocatedSizer = (*Memory)(nil)
)

// NewMemory makes a file that holds data.
func NewMemory(data []byte) *Memory {
	m := &Memory{}
	m.write(data, 0)
	return m
}

// Clone is a file of the same contents; neither sees what happens to the other.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	c := &Memory{pages: make(map[int64]*page, len(m.pages)), size: m.size}
	for at, p := range m.pages {
		p.owner = nil
		c.pages[at] = p
	}
	return c
}

// Bytes is everything the file holds.
func (m *Memory) Bytes() []byte {
	m.mu.RLock()
	defer m.mu.RUnlock()
	p := make([]byte, m.size)
	m.read(p, 0)
	return p
}

// Size is the file's length.
func (m *Memory) Size() int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return m.size
}

// ReadAt reads what was written, and zeroes from holes.
func (m *Memory) ReadAt(p []byte, off int64) (int, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.inside("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	m.read(p, off)
	return len(p), nil
}

// WriteAt writes p, growing the file as needed.
func (m *Memory) WriteAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, blockdev.ErrorAt(blockdev.ErrRange, "write", "", off, "before the beginning")
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.write(p, off)
	return len(p), nil
}

// WriteZeroes makes holes of whole pages where that is allowed, and writes elsewhere.
func (m *Memory) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if off < 0 || n < 0 {
		return blockdev.ErrorAt(blockdev.ErrRange, "write", "", off, "before the beginning")
	}
	m.zero(off, n, flags&blockdev.ZeroMayUnmap == 0)
	m.size = max(m.size, off+n)
	return nil
}

// Discard makes holes; the range reads as zeroes afterwards.
func (m *Memory) Discard(off, n int64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.inside("discard", off, n); err != nil {
		return err
	}
	m.zero(off, n, false)
	return nil
}

// Resize cuts the file off, or adds a hole.
func (m *Memory) Resize(size int64, _ blockdev.ResizeOptions) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if size < m.size {
		m.zero(size, m.size-size, false)
	}
	m.size = size
	return nil
}

// Map says which pages are holes.
func (m *Memory) Map(off, n int64) (blockdev.Extent, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if err := m.inside("map", off, n); err != nil || n == 0 {
		return blockdev.Extent{}, err
	}
	_, data := m.pages[off/pageSize]
	end := (off/pageSize + 1) * pageSize
	for end < off+n {
		if _, d := m.pages[end/pageSize]; d != data {
			break
		}
		end += pageSize
	}
	e := blockdev.Extent{Kind: blockdev.ExtentZero, Len: min(end-off, n)}
	if data {
		e.Kind, e.Node, e.Host = blockdev.ExtentData, m, off
	}
	return e, nil
}

// AllocatedSize is that of the pages that are no holes.
func (m *Memory) AllocatedSize() (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return int64(len(m.pages)) * pageSize, nil
}

// ReopenWritable has nothing to do.
func (m *Memory) ReopenWritable(bool) error { return nil }

// Flush has nothing to do.
func (m *Memory) Flush() error { return nil }

// Close leaves the contents in place, so that a test can open them again.
func (m *Memory) Close() error { return nil }

func (m *Memory) inside(op string, off, n int64) error {
	if off < 0 || n < 0 || off > m.size || n > m.size-off {
		return blockdev.ErrorAt(blockdev.ErrRange, op, "", off, "%d bytes do not fit in %d", n, m.size)
	}
	return nil
}

// read fills p; the lock is held.
func (m *Memory) read(p []byte, off int64) {
	for len(p) > 0 {
		in := off % pageSize
		k := min(int64(len(p)), pageSize-in)
		if pg := m.pages[off/pageSize]; pg != nil {
			copy(p[:k], pg.data[in:])
		} else {
			clear(p[:k])
		}
		p, off = p[k:], off+k
	}
}

// write stores p; the lock is held.
func (m *Memory) write(p []byte, off int64) {
	m.size = max(m.size, off+int64(len(p)))
	for len(p) > 0 {
		in := off % pageSize
		k := copy(m.own(off / pageSize).data[in:], p)
		p, off = p[k:], off+int64(k)
	}
}

// zero clears a range; whole pages become holes unless keep is set. The lock is held.
func (m *Memory) zero(off, n int64, keep bool) {
	for n > 0 {
		in := off % pageSize
		k := min(n, pageSize-in)
		_, present := m.pages[off/pageSize]
		switch {
		case k == pageSize && !keep:
			delete(m.pages, off/pageSize)
		case present || keep:
			clear(m.own(off / pageSize).data[in : in+k])
		}
		off, n = off+k, n-k
	}
}

// own gives a page that only m has.
func (m *Memory) own(at int64) *page {
	p := m.pages[at]
	if p != nil && p.owner == m {
		return p
	}
	c := &page{owner: m}
	if p != nil {
		c.data = p.data
	}
	if m.pages == nil {
		m.pages = map[int64]*page{}
	}
	m.pages[at] = c
	return c
}

// Holes lists the ranges [from, to) without data, in order.
func (m *Memory) Holes() [][2]int64 {
	m.mu.RLock()
	defer m.mu.RUnlock()
	var at []int64
	for p := range m.pages {
		at = append(at, p*pageSize)
	}
	slices.Sort(at)
	var out [][2]int64
	end := int64(0)
	for _, p := range append(at, m.size) {
		if p > end {
			out = append(out, [2]int64{end, p})
		}
		end = p + pageSize
	}
	return out
}
