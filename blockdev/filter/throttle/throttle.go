// Package throttle is the filter that makes requests wait, so that a disk gets no more than
// its share:
//
//	a --> [throttle] --+
//	                   +--> group: six leaky buckets
//	b --> [throttle] --+
//
// The limits belong to a [Group], which several filters may share. Every request puts its
// bytes, and itself, into buckets that leak at the rate allowed; while one is too full the
// next request waits. A bucket that may hold more lets bursts through.
//
//	--object throttle-group,id=g,x-bps-total=1000000
//	driver=throttle,throttle-group=g,file.driver=qcow2,file.file.filename=IMAGE
package throttle

import (
	"context"
	"sync"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/filter"
)

func init() {
	blockdev.Register(blockdev.Driver{Name: "throttle", OpenOptions: openOptions, Open: open})
}

var openOptions = blockdev.OptionTable{
	{Name: "throttle-group", Type: blockdev.OptString, Help: "group that has the limits"},
}

// Node is the filter.
type Node struct {
	filter.Base
	image blockdev.Node
	group *Group

	mu      sync.Mutex
	drains  int
	drained chan struct{} // closed while there are drains
}

var (
	_ blockdev.Node    = (*Node)(nil)
	_ blockdev.Filter  = (*Node)(nil)
	_ blockdev.Drainer = (*Node)(nil)
)

func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	id, ok := r.Options["throttle-group"].(string)
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename, "Please specify a throttle group")
	}
	g := lookup(id)
	if g == nil {
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "open", r.Filename, "Throttle group '%s' does not exist", id)
	}
	return New(r.File, g), nil
}

// New puts the filter over an image.
func New(image blockdev.Node, g *Group) *Node {
	return &Node{Base: filter.Over(image), image: image, group: g, drained: make(chan struct{})}
}

// BeginDrain implements blockdev.Drainer: the limits do not hold until end is called.
func (n *Node) BeginDrain() (end func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.drains == 0 {
		close(n.drained)
	}
	n.drains++
	return sync.OnceFunc(func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		n.drains--
		if n.drains == 0 {
			n.drained = make(chan struct{})
		}
	})
}

// wait returns when a request may begin.
func (n *Node) wait(d direction, length int64) {
	n.mu.Lock()
	drained := n.drained
	n.mu.Unlock()
	n.group.wait(d, length, drained)
}

// ReadAt waits for its turn and reads.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	n.wait(read, int64(len(p)))
	return n.image.ReadAt(p, off)
}

// WriteAt waits for its turn and writes.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	n.wait(write, int64(len(p)))
	return n.image.WriteAt(p, off)
}

// WriteZeroes counts as a write.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	n.wait(write, length)
	return n.Base.WriteZeroes(off, length, flags)
}

// Discard counts as a write.
func (n *Node) Discard(off, length int64) error {
	n.wait(write, length)
	return n.Base.Discard(off, length)
}

// WriteCompressed counts as a write.
func (n *Node) WriteCompressed(p []byte, off int64) error {
	n.wait(write, int64(len(p)))
	return n.Base.WriteCompressed(p, off)
}

// Map is the image's; reads come here.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) { return filter.Map(n, off, length) }
