// Package compress is the filter that compresses what is written to an image:
//
//	write --> [compress] --whole clusters--> image.WriteCompressed
//
// What is not a whole cluster, or goes where there is something already, is written as it
// is by the image.
package compress

import (
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/filter"
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
}

var (
	_ blockdev.Node   = (*Node)(nil)
	_ blockdev.Filter = (*Node)(nil)
)

func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	n := &Node{Base: filter.Over(r.File), image: r.File}
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
	whole := off%n.cluster == 0 && (int64(len(p)) == n.cluster || off+int64(len(p)) == n.Size())
	if whole {
		e, err := n.image.Map(off, int64(len(p)))
		if err != nil {
			return err
		}
		whole = !e.Allocated && e.Len == int64(len(p)) && e.Kind != blockdev.ExtentData
	}
	if whole {
		return n.to.WriteCompressed(p, off)
	}
	_, err := n.image.WriteAt(p, off)
	return err
}

// Map is the image's.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) { return filter.Map(n, off, length) }

// Limits: whole clusters are best.
func (n *Node) Limits() blockdev.Limits {
	l := blockdev.LimitsOf(n.image)
	l.OptimalTransfer = max(l.OptimalTransfer, n.cluster)
	return l
}
