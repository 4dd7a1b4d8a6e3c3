// Package copyonread is the filter that fills an image with what is read through it, so
// that the same bytes need not be fetched from its backing file again:
//
//	read --> [copy-on-read] --> image: allocated?  yes: read it
//	                              |    no:  whole clusters from the backing file,
//	                              +<--------written into the image, and then read
//
// Writes and all else pass through. A cluster is copied while nothing is written, so that
// a copy never lands on newer data.
package copyonread

import (
	"context"
	"sync"

	"github.com/qmon/qmon/blockdev"
)

func init() {
	blockdev.Register(blockdev.Driver{Name: "copy-on-read", Open: open})
}

// Node is the filter.
type Node struct {
	image   blockdev.Node
	cluster int64
	// copying is held for writing while clusters are copied, for reading by all that
	// changes the image.
	copying sync.RWMutex
}

var (
	_ blockdev.Node             = (*Node)(nil)
	_ blockdev.Filter           = (*Node)(nil)
	_ blockdev.OpaqueReader     = (*Node)(nil)
	_ blockdev.ZeroWriter       = (*Node)(nil)
	_ blockdev.Discarder        = (*Node)(nil)
	_ blockdev.Resizer          = (*Node)(nil)
	_ blockdev.Reopener         = (*Node)(nil)
	_ blockdev.Limiter          = (*Node)(nil)
	_ blockdev.CompressedWriter = (*Node)(nil)
)

const (
	// defaultCluster is what is copied at a time from images that have no clusters, as in
	// QEMU.
	defaultCluster = 64 << 10
	// maxCopy bounds the memory that a copy takes; a cluster is never larger (2 MiB).
	maxCopy = 2 << 20
)

func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	if !r.Mode.Writable {
		return nil, blockdev.Errorf(blockdev.ErrReadOnly, "open", r.Filename, "Block node is read-only")
	}
	return New(r.File), nil
}

// New puts the filter over an image.
func New(image blockdev.Node) *Node {
	n := &Node{image: image, cluster: defaultCluster}
	if i, ok := blockdev.Unfiltered(image).(blockdev.Informer); ok {
		if told, err := i.Info(); err == nil && told.ClusterSize > 0 && told.ClusterSize <= maxCopy {
			n.cluster = told.ClusterSize
		}
	}
	return n
}

// Filtered is the image.
func (n *Node) Filtered() blockdev.Node { return n.image }

// ReadAt copies what the image has not, and reads.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	end := off + int64(len(p))
	for at := off; at < end; {
		e, err := blockdev.Unfiltered(n.image).Map(at, end-at)
		if err != nil {
			return 0, err
		}
		if e.Kind == blockdev.ExtentUnallocated {
			if err := n.fill(at, e.Len); err != nil {
				return 0, err
			}
		}
		at += e.Len
	}
	return n.image.ReadAt(p, off)
}

// fill copies the clusters that the range touches into the image, where they are not there
// yet.
func (n *Node) fill(off, length int64) error {
	end := min((off+length+n.cluster-1)/n.cluster*n.cluster, n.Size())
	off -= off % n.cluster
	buf := make([]byte, min(end-off, maxCopy/n.cluster*n.cluster))
	n.copying.Lock()
	defer n.copying.Unlock()
	for off < end {
		e, err := blockdev.Unfiltered(n.image).Map(off, min(end-off, int64(len(buf))))
		if err != nil {
			return err
		}
		if e.Kind == blockdev.ExtentUnallocated {
			if err := n.copy(buf[:e.Len], off); err != nil {
				return err
			}
		}
		off += e.Len
	}
	return nil
}

// copy reads what is below the image and writes it there. Zeroes are written as such: they
// must not be looked for below again.
func (n *Node) copy(p []byte, off int64) error {
	if _, err := n.image.ReadAt(p, off); err != nil {
		return err
	}
	if blockdev.IsZero(p) {
		return blockdev.WriteZeroes(n.image, off, int64(len(p)), 0)
	}
	_, err := n.image.WriteAt(p, off)
	return err
}

// changing does what changes the image while nothing is copied.
func (n *Node) changing(do func() error) error {
	n.copying.RLock()
	defer n.copying.RUnlock()
	return do()
}

// WriteAt passes on.
func (n *Node) WriteAt(p []byte, off int64) (k int, err error) {
	err = n.changing(func() error {
		k, err = n.image.WriteAt(p, off)
		return err
	})
	return k, err
}

// WriteZeroes passes on.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	return n.changing(func() error { return blockdev.WriteZeroes(n.image, off, length, flags) })
}

// Discard passes on.
func (n *Node) Discard(off, length int64) error {
	return n.changing(func() error { return blockdev.Discard(n.image, off, length) })
}

// Resize passes on.
func (n *Node) Resize(size int64, o blockdev.ResizeOptions) error {
	return n.changing(func() error { return blockdev.Resize(n.image, size, o) })
}

// WriteCompressed passes on.
func (n *Node) WriteCompressed(p []byte, off int64) error {
	c, ok := n.image.(blockdev.CompressedWriter)
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", "", "Operation not supported")
	}
	return n.changing(func() error { return c.WriteCompressed(p, off) })
}

// Map leaves reading to the filter, but for zeroes that the image has.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	e, err := n.image.Map(off, length)
	if err == nil && e.Kind != blockdev.ExtentZero {
		e = blockdev.Extent{Kind: blockdev.ExtentOpaque, Len: e.Len, Compressed: e.Compressed}
	}
	return e, err
}

// ReadOpaque is ReadAt.
func (n *Node) ReadOpaque(p []byte, off int64) error {
	_, err := n.ReadAt(p, off)
	return err
}

// ReopenWritable has nothing to do for writing; a filter that may not write is of no use.
func (n *Node) ReopenWritable(writable bool) error {
	if !writable {
		return blockdev.Errorf(blockdev.ErrNotSupported, "reopen", "", "Can't use copy-on-read on read-only device")
	}
	return nil
}

// Size is the image's.
func (n *Node) Size() int64 { return n.image.Size() }

// Limits are the image's.
func (n *Node) Limits() blockdev.Limits { return blockdev.LimitsOf(n.image) }

// Flush flushes the image.
func (n *Node) Flush() error { return n.image.Flush() }

// Close flushes; the image belongs to the graph.
func (n *Node) Close() error { return n.Flush() }
