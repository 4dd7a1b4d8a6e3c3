// Package filter holds what nodes have in common that lie between others and show what is
// below them:
//
//	above --> [filter] --> node below
//
// A filter embeds [Base], which passes on all but Map, and overrides what it does
// otherwise.
package filter

import "github.com/qmon/qmon/blockdev"

// Node is a filter as a whole.
type Node interface {
	blockdev.Node
	blockdev.Filter
}

// Base passes everything on to the node below.
type Base struct{ below blockdev.Node }

// Over is the Base over a node.
func Over(n blockdev.Node) Base { return Base{n} }

var (
	_ blockdev.Filter           = (*Base)(nil)
	_ blockdev.ZeroWriter       = (*Base)(nil)
	_ blockdev.Discarder        = (*Base)(nil)
	_ blockdev.Resizer          = (*Base)(nil)
	_ blockdev.Reopener         = (*Base)(nil)
	_ blockdev.Limiter          = (*Base)(nil)
	_ blockdev.CompressedWriter = (*Base)(nil)
	_ blockdev.NewContents      = (*Base)(nil)
	_ blockdev.AllocatedSizer   = (*Base)(nil)
	_ blockdev.EventReceiver    = (*Base)(nil)
)

// Map is the Map of a filter f that wants to see every read: the bytes of the node below are
// said to be f's, as nobody may go around it to where they are.
func Map(f Node, off, n int64) (blockdev.Extent, error) {
	below := f.Filtered()
	e, err := below.Map(off, n)
	if err != nil {
		return e, err
	}
	zero := e.Kind == blockdev.ExtentZero || e.Kind == blockdev.ExtentUnallocated && blockdev.BackingOf(below) == nil
	if zero && !e.Allocated {
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: e.Len, Written: e.Written}, nil
	}
	kind := blockdev.ExtentData
	if zero {
		kind = blockdev.ExtentZero
	}
	return blockdev.Extent{Kind: kind, Len: e.Len, Node: f, Host: off, Allocated: e.Allocated, Written: e.Written}, nil
}

// Filtered is the node below.
func (b *Base) Filtered() blockdev.Node { return b.below }

// ReadAt passes on.
func (b *Base) ReadAt(p []byte, off int64) (int, error) { return b.below.ReadAt(p, off) }

// WriteAt passes on.
func (b *Base) WriteAt(p []byte, off int64) (int, error) { return b.below.WriteAt(p, off) }

// Size is that of the node below.
func (b *Base) Size() int64 { return b.below.Size() }

// Flush passes on.
func (b *Base) Flush() error { return b.below.Flush() }

// Close flushes; the node below belongs to the graph.
func (b *Base) Close() error { return b.below.Flush() }

// WriteZeroes passes on.
func (b *Base) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	return blockdev.WriteZeroes(b.below, off, n, flags)
}

// Discard passes on.
func (b *Base) Discard(off, n int64) error { return blockdev.Discard(b.below, off, n) }

// Resize passes on.
func (b *Base) Resize(size int64, o blockdev.ResizeOptions) error {
	return blockdev.Resize(b.below, size, o)
}

// WriteCompressed passes on.
func (b *Base) WriteCompressed(p []byte, off int64) error {
	c, ok := b.below.(blockdev.CompressedWriter)
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", "", "Operation not supported")
	}
	return c.WriteCompressed(p, off)
}

// ReopenWritable has nothing to do: the node below is what is writable or not.
func (b *Base) ReopenWritable(bool) error { return nil }

// Limits are those of the node below.
func (b *Base) Limits() blockdev.Limits { return blockdev.LimitsOf(b.below) }

// AllocatedSize is that of the node below.
func (b *Base) AllocatedSize() (int64, error) {
	if a, ok := b.below.(blockdev.AllocatedSizer); ok {
		return a.AllocatedSize()
	}
	return 0, blockdev.Errorf(blockdev.ErrNotSupported, "size", "", "Operation not supported")
}

// ZeroWhenNew is as the node below says.
func (b *Base) ZeroWhenNew() bool { return blockdev.IsZeroWhenNew(b.below) }

// Receive passes on.
func (b *Base) Receive(e blockdev.Event) { blockdev.Raise(b.below, e) }
