// Package preallocate is the filter that makes a file grow in large steps, for file systems
// on which growing it a little often is slow:
//
//	file   |... written ...|x............ zeroes, reserved ............|
//	                        ^ a write here reserves prealloc-size more, aligned
//
// The file is cut back to what was written when the node is closed or becomes read-only.
package preallocate

import (
	"context"
	"sync"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/filter"
)

const sectorSize = 512

func init() {
	blockdev.Register(blockdev.Driver{Name: "preallocate", OpenOptions: openOptions, Open: open})
}

var openOptions = blockdev.OptionTable{
	{Name: "prealloc-align", Type: blockdev.OptSize, Default: "1M", Help: "alignment of the end of the file"},
	{Name: "prealloc-size", Type: blockdev.OptSize, Default: "128M", Help: "how much more is reserved"},
}

// Node is the filter.
type Node struct {
	filter.Base
	file        blockdev.Node
	align, more int64

	mu sync.RWMutex
	// end is where what was written ends, the size of the disk; the file may be longer.
	end int64
}

var (
	_ blockdev.Node     = (*Node)(nil)
	_ blockdev.Filter   = (*Node)(nil)
	_ blockdev.Resizer  = (*Node)(nil)
	_ blockdev.Reopener = (*Node)(nil)
)

func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	n := &Node{Base: filter.Over(r.File), file: r.File, end: r.File.Size()}
	n.align, _ = r.Options["prealloc-align"].(int64)
	n.more, _ = r.Options["prealloc-size"].(int64)
	if n.align%sectorSize != 0 {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename,
			"prealloc-align parameter of preallocate filter is not aligned to %d", sectorSize)
	}
	n.align = max(n.align, 1)
	return n, nil
}

// Size is what was written, not what is reserved.
func (n *Node) Size() int64 {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.end
}

// writing makes room for a write that ends at end, and does it. The disk becomes longer only
// if that succeeds.
func (n *Node) writing(end int64, do func() error) error {
	n.reserve(end)
	if err := do(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.end = max(n.end, end)
	return nil
}

func (n *Node) reserve(end int64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if end > n.file.Size() && end <= blockdev.MaxSize-n.more-n.align {
		want := (end + n.more + n.align - 1) / n.align * n.align
		// Zeroes on request are what is wanted here; where they cannot be had the file
		// grows with the write itself.
		_ = blockdev.Resize(n.file, want, blockdev.ResizeOptions{Preallocation: "falloc"})
	}
}

// WriteAt reserves and writes.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	err := n.writing(off+int64(len(p)), func() error {
		_, err := n.file.WriteAt(p, off)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteZeroes reserves and passes on.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	return n.writing(off+length, func() error { return blockdev.WriteZeroes(n.file, off, length, flags) })
}

// ReadAt reads what was written.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	return n.file.ReadAt(p, off)
}

// Map is the file's.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", n, off, length); err != nil {
		return blockdev.Extent{}, err
	}
	return filter.Map(n, off, length)
}

// Resize gives up what is reserved.
func (n *Node) Resize(size int64, o blockdev.ResizeOptions) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.cut(); err != nil {
		return err
	}
	if err := blockdev.Resize(n.file, size, o); err != nil {
		return err
	}
	n.end = n.file.Size()
	return nil
}

// cut makes the file end where what was written does. mu is held.
func (n *Node) cut() error {
	if n.file.Size() <= n.end {
		return nil
	}
	return blockdev.Resize(n.file, n.end, blockdev.ResizeOptions{Shrink: true})
}

// ReopenWritable cuts the file before it cannot be any more.
func (n *Node) ReopenWritable(writable bool) error {
	if writable {
		return nil
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.cut()
}

// Close cuts the file and flushes.
func (n *Node) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.cut(); err != nil {
		return err
	}
	return n.file.Flush()
}
