// Package parent keeps the node below an image that is only what differs from another one,
// its parent, and sees to it that it is that one: read together with something else, or
// with a parent that was written to since, it would be a disk that never was.
package parent

import (
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
)

// Link is an image's link to its parent. Formats embed it: its methods are half of
// [blockdev.Backed].
type Link struct {
	// IsParent fails if a node is not the parent as it was. nil: every node will do.
	IsParent func(n blockdev.Node) error

	node    atomic.Pointer[node]
	checked atomic.Bool
}

// node wraps the interface for an atomic pointer.
type node struct{ blockdev.Node }

// Backing is the attached backing node.
func (l *Link) Backing() blockdev.Node {
	if n := l.node.Load(); n != nil {
		return n.Node
	}
	return nil
}

// SetBacking attaches or, with nil, detaches the backing node.
func (l *Link) SetBacking(n blockdev.Node) {
	l.checked.Store(false)
	if n == nil {
		l.node.Store(nil)
		return
	}
	l.node.Store(&node{n})
}

// Verify fails if the attached node is not the parent. Images ask before they read from it,
// and it is looked at once, as a commit into the parent changes it while it is read.
func (l *Link) Verify() error {
	if l.IsParent == nil || l.checked.Load() {
		return nil
	}
	n := l.Backing()
	if n == nil {
		return nil
	}
	if err := l.IsParent(n); err != nil {
		return err
	}
	l.checked.Store(true)
	return nil
}
