// Package raw is the format without a format: the guest's bytes are the file's.
//
//	guest   0 ............ Size
//	file    offset ....... offset+size ...
//
// The options offset and size cut a window out of the file. A file that does not end at
// a sector's end is seen with zeroes up to it, as disks have whole sectors.
//
// A format can be told from a raw disk by its first bytes only. A guest could write
// them, and so make the next user of the image open another file that it names. So where
// "raw" was guessed and not said, a write that would make the first bytes look like
// another format's fails with "Operation not permitted" (here and nowhere else, so that
// commits and copies are bound by it too).
package raw

import (
	"context"
	"os"
	"sync"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// sectorSize is what sizes are rounded up to.
const sectorSize = 512

func init() {
	blockdev.Register(blockdev.Driver{
		Name: "raw",
		// Everything is raw if it is nothing else.
		Probe:         func([]byte, string) int { return 1 },
		OpenOptions:   openOptions,
		CreateOptions: createOptions,
		Open:          open,
		Create:        create,
		Measure:       measure,
	})
}

var openOptions = blockdev.OptionTable{
	{Name: "offset", Type: blockdev.OptSize, Help: "offset in the disk where the image starts"},
	{Name: "size", Type: blockdev.OptSize, Help: "virtual disk size"},
}

var createOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "preallocation", Type: blockdev.OptString, Help: "Preallocation mode (allowed values: off, falloc, full)"},
}

// Image is a raw disk.
type Image struct {
	file   blockdev.Node
	offset int64
	// fixed is the size option, -1 for all there is.
	fixed int64
	// sectors: requests come in whole sectors, as guessed formats and the direct cache mode
	// have it when they are written, so the last one is stored as a whole.
	sectors bool
	// guard is set where the format was guessed: head writes are checked under it.
	guard *sync.Mutex
}

var (
	_ blockdev.Node           = (*Image)(nil)
	_ blockdev.ZeroWriter     = (*Image)(nil)
	_ blockdev.Discarder      = (*Image)(nil)
	_ blockdev.Resizer        = (*Image)(nil)
	_ blockdev.RangeCopier    = (*Image)(nil)
	_ blockdev.Reopener       = (*Image)(nil)
	_ blockdev.Limiter        = (*Image)(nil)
	_ blockdev.AllocatedSizer = (*Image)(nil)
	_ blockdev.EventReceiver  = (*Image)(nil)
)

func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	m := &Image{file: r.File, fixed: -1, sectors: r.Probed && r.Mode.Writable || r.Mode.Cache.Direct}
	m.offset, _ = r.Options["offset"].(int64)
	if size, ok := r.Options["size"].(int64); ok {
		m.fixed = size
	}
	if r.Probed {
		m.guard = &sync.Mutex{}
	}
	if err := m.checkWindow(r.Filename); err != nil {
		return nil, err
	}
	return withSnapshots(m), nil
}

// checkWindow refuses a window that is not in the file.
func (m *Image) checkWindow(name string) error {
	have := m.file.Size()
	switch {
	case m.offset > have:
		return blockdev.Errorf(blockdev.ErrInvalid, "open", name,
			"Offset (%d) cannot be greater than size of the containing file (%d)", m.offset, have)
	case m.fixed > have-m.offset:
		return blockdev.Errorf(blockdev.ErrInvalid, "open", name,
			"The sum of offset (%d) and size (%d) has to be smaller or equal to the  actual size of the containing file (%d)",
			m.offset, m.fixed, have)
	case m.fixed > 0 && m.fixed%sectorSize != 0:
		return blockdev.Errorf(blockdev.ErrInvalid, "open", name, "Specified size is not multiple of %d", sectorSize)
	}
	return nil
}

// create makes the file as long as the disk.
func create(_ context.Context, r blockdev.CreateRequest) error {
	if r.Backing.Name != "" {
		return blockdev.Errorf(blockdev.ErrNotSupported, "create", r.Filename, "Backing file not supported for file format 'raw'")
	}
	preallocation, _ := r.Options["preallocation"].(string)
	size := (r.Size + sectorSize - 1) / sectorSize * sectorSize
	if err := blockdev.Resize(r.File, size, blockdev.ResizeOptions{Preallocation: preallocation}); err != nil {
		return err
	}
	if !isRegular(r.File) {
		return nil
	}
	// The first block is allocated, as in QEMU's files: what requests to a file system must
	// be aligned to cannot be found out from a hole.
	_, err := r.File.WriteAt(make([]byte, min(size, firstBlock)), 0)
	return err
}

// isRegular tells if n is a regular file of the host.
func isRegular(n blockdev.Node) bool {
	f, ok := n.(interface{ FileInfo() (os.FileInfo, error) })
	if !ok {
		return false
	}
	info, err := f.FileInfo()
	return err == nil && info.Mode().IsRegular()
}

// firstBlock is how many bytes of a new file are allocated.
const firstBlock = 4096

// Size is that of the window, in whole sectors.
func (m *Image) Size() int64 {
	if m.fixed >= 0 {
		return m.fixed
	}
	return (m.stored() + sectorSize - 1) / sectorSize * sectorSize
}

// stored is how many bytes of the disk the file has.
func (m *Image) stored() int64 { return max(0, m.file.Size()-m.offset) }

// ReadAt reads the file, and zeroes behind its end.
func (m *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", m, off, int64(len(p))); err != nil {
		return 0, err
	}
	n := max(0, min(int64(len(p)), m.stored()-off))
	blockdev.Raise(m.file, blockdev.EventReadAIO)
	if n > 0 {
		if _, err := m.file.ReadAt(p[:n], m.offset+off); err != nil {
			return 0, err
		}
	}
	clear(p[n:])
	return len(p), nil
}

// WriteAt writes the file.
func (m *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("write", m, off, int64(len(p))); err != nil {
		return 0, err
	}
	if m.guarded(off) {
		m.guard.Lock()
		defer m.guard.Unlock()
		if err := m.checkHead(p, off); err != nil {
			return 0, err
		}
	}
	blockdev.Raise(m.file, blockdev.EventWriteAIO)
	return m.file.WriteAt(p, m.offset+off)
}

// Receive passes events of what is above on.
func (m *Image) Receive(e blockdev.Event) { blockdev.Raise(m.file, e) }

// guarded tells if a write at off may change what a probe would see.
func (m *Image) guarded(off int64) bool { return m.guard != nil && off < blockdev.ProbeSize }

// checkHead refuses a write that would make the disk look like another format.
func (m *Image) checkHead(p []byte, off int64) error {
	head := make([]byte, min(blockdev.ProbeSize, m.Size()))
	if _, err := m.ReadAt(head, 0); err != nil {
		return err
	}
	copy(head[off:], p)
	if d := blockdev.ProbeHead(head, ""); d != nil && d.Name != "raw" {
		return &blockdev.Error{Kind: blockdev.ErrDenied, Op: "write", Offset: off, Err: syscall.EPERM}
	}
	return nil
}

// Map passes on what the file says.
func (m *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", m, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	stored := m.stored()
	if off >= stored {
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: n, Node: m.file, Host: m.offset + off}, nil
	}
	e, err := m.file.Map(m.offset+off, min(n, stored-off))
	if err == nil && e.Kind == blockdev.ExtentOpaque {
		// The opaque bytes are the file's to read.
		e = blockdev.Extent{Kind: blockdev.ExtentData, Len: e.Len, Node: m.file, Host: m.offset + off}
	}
	if err == nil && m.sectors && m.offset == 0 && e.Kind == blockdev.ExtentData && off+e.Len == stored && e.Len < n {
		// The file lacks the end of the sector: m has it.
		e = blockdev.Extent{Kind: blockdev.ExtentData, Len: n, Node: m, Host: off}
	}
	return e, err
}

// WriteZeroes passes on. A guarded head is written as bytes, so that it is checked: zeroes
// over a part of it could bring another format's magic to light.
func (m *Image) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if err := blockdev.CheckRange("write", m, off, n); err != nil {
		return err
	}
	if m.guarded(off) {
		k := min(n, blockdev.ProbeSize-off)
		if _, err := m.WriteAt(make([]byte, k), off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return blockdev.WriteZeroes(m.file, m.offset+off, n, flags)
}

// CopyRange passes on, but for a guarded head, which is checked as it is written.
func (m *Image) CopyRange(src blockdev.Node, from, off, n int64) error {
	if err := blockdev.CheckRange("copy", m, off, n); err != nil {
		return err
	}
	f, ok := m.file.(blockdev.RangeCopier)
	if !ok || m.guarded(off) {
		return blockdev.ErrNotSupported
	}
	return f.CopyRange(src, from, m.offset+off, n)
}

// Discard passes on. A guarded head is not discarded, as discarded bytes can change.
func (m *Image) Discard(off, n int64) error {
	if err := blockdev.CheckRange("discard", m, off, n); err != nil {
		return err
	}
	if m.guarded(off) {
		k := min(n, blockdev.ProbeSize-off)
		off, n = off+k, n-k
	}
	return blockdev.Discard(m.file, m.offset+off, min(n, max(0, m.stored()-off)))
}

// Resize changes the file's length, which need not be whole sectors.
func (m *Image) Resize(size int64, o blockdev.ResizeOptions) error {
	if m.fixed >= 0 {
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", "", "Cannot resize fixed-size raw disks")
	}
	if size > blockdev.MaxSize-m.offset {
		return blockdev.Errorf(blockdev.ErrLimit, "resize", "", "Disk size too large for the chosen offset")
	}
	return blockdev.Resize(m.file, m.offset+size, o)
}

// ReopenWritable has nothing to do: the file is what is writable or not.
func (m *Image) ReopenWritable(bool) error { return nil }

// Limits are the file's.
func (m *Image) Limits() blockdev.Limits {
	l := blockdev.LimitsOf(m.file)
	if m.sectors {
		l.Alignment = max(l.Alignment, sectorSize)
	}
	return l
}

// AllocatedSize is the file's.
func (m *Image) AllocatedSize() (int64, error) {
	if a, ok := m.file.(blockdev.AllocatedSizer); ok {
		return a.AllocatedSize()
	}
	return 0, blockdev.Errorf(blockdev.ErrNotSupported, "size", "", "Operation not supported")
}

// Flush flushes the file.
func (m *Image) Flush() error {
	blockdev.Raise(m.file, blockdev.EventFlushToOS)
	return m.file.Flush()
}

// Close flushes; the file belongs to the graph.
func (m *Image) Close() error { return m.Flush() }

// measure: the file is as long as the disk.
func measure(_ context.Context, r blockdev.MeasureRequest) (blockdev.Measurement, error) {
	size := (r.Size + sectorSize - 1) / sectorSize * sectorSize
	return blockdev.Measurement{Required: size, FullyAllocated: size}, nil
}
