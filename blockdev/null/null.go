// Package null provides disks that hold nothing: reads succeed and give zeroes, writes
// succeed and vanish. They measure everything above them.
//
//	null-co, null-aio:   size (1 GiB), read-zeroes (on: Map says zero), latency-ns
//
// The two names differ in QEMU's use of threads only, and do not differ here.
package null

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// defaultSize is QEMU's, as an option's text.
const defaultSize = "1G"

func init() {
	for _, name := range []string{"null-co", "null-aio"} {
		blockdev.Register(blockdev.Driver{
			Name:          name,
			Protocol:      true,
			Prefixes:      []string{name},
			OpenOptions:   openOptions,
			ParseFilename: parseFilename(name),
			Open:          open,
		})
	}
}

var openOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Default: defaultSize, Help: "size of the null block"},
	{Name: "latency-ns", Type: blockdev.OptInt, Default: "0", Help: "nanoseconds each request takes"},
	{Name: "read-zeroes", Type: blockdev.OptBool, Default: "off", Help: "reads give zeroes, and block status says so"},
}

// parseFilename accepts "null-co://" and nothing behind it, as QEMU does.
func parseFilename(name string) func(string) (blockdev.Options, error) {
	return func(filename string) (blockdev.Options, error) {
		if filename != name+"://" {
			return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", filename,
				"The only allowed filename for this driver is '%s://'", name)
		}
		return blockdev.Options{}, nil
	}
}

// Node is a disk that holds nothing.
type Node struct {
	size       atomic.Int64
	latency    time.Duration
	readZeroes bool
}

var (
	_ blockdev.Node       = (*Node)(nil)
	_ blockdev.ZeroWriter = (*Node)(nil)
	_ blockdev.Discarder  = (*Node)(nil)
	_ blockdev.Reopener   = (*Node)(nil)

	_ blockdev.AllocatedSizer = (*Node)(nil)
)

func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	var o struct {
		Size       int64 `option:"size"`
		Latency    int64 `option:"latency-ns"`
		ReadZeroes bool  `option:"read-zeroes"`
	}
	if err := r.Options.Decode(&o); err != nil {
		return nil, err
	}
	if o.Size > blockdev.MaxSize {
		return nil, blockdev.Errorf(blockdev.ErrLimit, "open", r.Filename, "size is too large")
	}
	n := &Node{latency: time.Duration(o.Latency), readZeroes: o.ReadZeroes}
	n.size.Store(o.Size)
	return n, nil
}

// request checks the range and takes as long as it was told to.
func (n *Node) request(op string, off, length int64) error {
	if err := blockdev.CheckRange(op, n, off, length); err != nil {
		return err
	}
	if n.latency > 0 {
		time.Sleep(n.latency)
	}
	return nil
}

// ReadAt gives zeroes.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := n.request("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	clear(p)
	return len(p), nil
}

// WriteAt forgets p.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	if err := n.request("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Size is the size option.
func (n *Node) Size() int64 { return n.size.Load() }

// Map says data, or zero with read-zeroes.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", n, off, length); err != nil {
		return blockdev.Extent{}, err
	}
	kind := blockdev.ExtentData
	if n.readZeroes {
		kind = blockdev.ExtentZero
	}
	return blockdev.Extent{Kind: kind, Len: length, Node: n, Host: off}, nil
}

// WriteZeroes forgets that they were written.
func (n *Node) WriteZeroes(off, length int64, _ blockdev.ZeroFlags) error {
	return n.request("write", off, length)
}

// Discard has nothing to give back.
func (n *Node) Discard(off, length int64) error { return n.request("discard", off, length) }

// AllocatedSize is 0.
func (n *Node) AllocatedSize() (int64, error) { return 0, nil }

// ReopenWritable has nothing to do.
func (n *Node) ReopenWritable(bool) error { return nil }

// Flush has nothing to do but to take its time.
func (n *Node) Flush() error { return n.request("flush", 0, 0) }

// Close has nothing to release.
func (n *Node) Close() error { return nil }
