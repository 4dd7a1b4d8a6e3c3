// Package compress is the filter that compresses what is written to an image:
//
//	write --> [compress] --whole clusters--> image.WriteCompressed
//
// A part of a cluster is made a whole one with what the image reads around it. What goes
// where the image has something already is written as it is.
package compress

import (
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/filter"
	"github.com/qmon/qmon/internal/rangelock"
)

func init() {
	blockdev.Register(blockdev.Driver{Name: "compress", Open: open})
}

// Node is the filter.
type Node struct {
	filter.Base
	image   blockdev.Node
	to      blockdev.CompressedWriter
	cluster int64 // bytes
	ranges  *rangelock.Lock
}

var (
	_ blockdev.Node   = (*Node)(nil)
	_ blockdev.Filter = (*Node)(nil)
)

func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	n := &Node{Base: filter.Over(r.File), image: r.File, ranges: rangelock.New()}
	var ok bool
	if n.to, ok = r.File.(blockdev.CompressedWriter); ok {
		if i, told := r.File.(blockdev.Informer); told {
			if info, err := i.Info(); err == nil {
				n.cluster = info.ClusterSize
			}
		}
	}
	if n.cluster == 0 {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "open", r.Filename,
			"Compression is not supported for underlying format: %s", r.FileDriver)
	}
	return n, nil
}

// WriteAt compresses the whole clusters of the range that the image does not have yet.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("write", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := int64(0); done < int64(len(p)); {
		at := off + done
		k := min(n.cluster-at%n.cluster, int64(len(p))-done)
		if err := n.writeCluster(p[done:done+k], at); err != nil {
			return 0, err
		}
		done += k
	}
	return len(p), nil
}

// writeCluster writes bytes that lie in one cluster.
func (n *Node) writeCluster(p []byte, off int64) error {
	start := off - off%n.cluster
	length := min(n.cluster, n.Size()-start)
	defer n.ranges.Lock(start, start+length, true)()
	e, err := n.image.Map(start, length)
	if err != nil {
		return err
	}
	if e.Allocated || e.Len < length || e.Kind == blockdev.ExtentData || e.Kind == blockdev.ExtentOpaque {
		_, err := n.image.WriteAt(p, off)
		return err
	}
	if int64(len(p)) < length {
		whole := make([]byte, length)
		if _, err := n.image.ReadAt(whole, start); err != nil {
			return err
		}
		copy(whole[off-start:], p)
		p = whole
	}
	return n.to.WriteCompressed(p, start)
}

// WriteZeroes passes on while no cluster of the range is read to be made a whole one.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	defer n.ranges.Lock(off, off+length, false)()
	return n.Base.WriteZeroes(off, length, flags)
}

// Discard passes on in the same way.
func (n *Node) Discard(off, length int64) error {
	defer n.ranges.Lock(off, off+length, false)()
	return n.Base.Discard(off, length)
}

// Map is the image's.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) { return filter.Map(n, off, length) }

// Limits: whole clusters are best.
func (n *Node) Limits() blockdev.Limits {
	l := blockdev.LimitsOf(n.image)
	l.OptimalTransfer = max(l.OptimalTransfer, n.cluster)
	return l
}
