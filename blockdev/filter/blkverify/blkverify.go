// Package blkverify is the filter that tests a driver against a raw file: every write goes
// to both, and every read has to give the same from both.
//
//	         +--> raw:  a plain file, believed to be right
//	read --> +
//	         +--> test: any image; if it says something else the read fails
//
//	blkverify:RAW:TEST
//	driver=blkverify,raw.filename=RAW,test.driver=qcow2,test.file.filename=TEST
package blkverify

import (
	"bytes"
	"context"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/filter"
)

const driverName = "blkverify"

const testChild = "test"

func init() {
	blockdev.Register(blockdev.Driver{
		Name:           driverName,
		Prefixes:       []string{driverName},
		Children:       []blockdev.Child{{Name: "raw"}, {Name: testChild, Image: true}},
		ParseFilename:  parseFilename,
		FormatFilename: formatFilename,
		Open:           open,
	})
}

func parseFilename(filename string) (blockdev.Options, error) {
	raw, test, ok := strings.Cut(strings.TrimPrefix(filename, driverName+":"), ":")
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", filename, "blkverify requires raw copy and original image path")
	}
	return blockdev.Options{"x-raw": raw, "x-" + testChild: test}, nil
}

func formatFilename(_ blockdev.Options, children []string) string {
	if len(children) != 2 {
		return ""
	}
	return driverName + ":" + children[0] + ":" + children[1]
}

// Node is the filter.
type Node struct {
	filter.Base
	raw, test blockdev.Node
}

var (
	_ blockdev.Node           = (*Node)(nil)
	_ blockdev.Filter         = (*Node)(nil)
	_ blockdev.AllocatedSizer = (*Node)(nil)
)

func open(ctx context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	test, err := r.OpenChild(ctx, testChild)
	if err == nil && test == nil {
		err = blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename, `A block device must be specified for "%s"`, testChild)
	}
	if err != nil {
		return nil, err
	}
	return &Node{Base: filter.Over(r.File), raw: r.File, test: test}, nil
}

// Size is that of the image under test.
func (n *Node) Size() int64 { return n.test.Size() }

// ReadAt reads both and compares.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if _, err := n.test.ReadAt(p, off); err != nil {
		return 0, err
	}
	want := make([]byte, len(p))
	if _, err := n.raw.ReadAt(want, off); err != nil {
		return 0, err
	}
	if bytes.Equal(p, want) {
		return len(p), nil
	}
	i := 0
	for p[i] == want[i] {
		i++
	}
	return 0, blockdev.ErrorAt(blockdev.ErrMismatch, "read", "", off,
		"blkverify: read offset=%d bytes=%d contents mismatch at offset %d", off, len(p), off+int64(i))
}

// both does the same to both images, the one under test first.
func (n *Node) both(do func(blockdev.Node) error) error {
	if err := do(n.test); err != nil {
		return err
	}
	return do(n.raw)
}

// WriteAt writes to both.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	err := n.both(func(c blockdev.Node) error {
		_, err := c.WriteAt(p, off)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteZeroes writes zeroes to both.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	return n.both(func(c blockdev.Node) error { return blockdev.WriteZeroes(c, off, length, flags) })
}

// Discard does nothing: what is discarded may read differently.
func (n *Node) Discard(int64, int64) error { return nil }

// Resize changes both.
func (n *Node) Resize(size int64, o blockdev.ResizeOptions) error {
	return n.both(func(c blockdev.Node) error { return blockdev.Resize(c, size, o) })
}

// WriteCompressed writes compressed to the image under test.
func (n *Node) WriteCompressed(p []byte, off int64) error {
	c, ok := n.test.(blockdev.CompressedWriter)
	if !ok {
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", "", "Operation not supported")
	}
	if err := c.WriteCompressed(p, off); err != nil {
		return err
	}
	_, err := n.raw.WriteAt(p, off)
	return err
}

// Map says that everything has to be read here, to be compared.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", n, off, length); err != nil {
		return blockdev.Extent{}, err
	}
	return blockdev.Extent{Kind: blockdev.ExtentData, Len: length, Node: n, Host: off, Allocated: true}, nil
}

// Flush flushes both.
func (n *Node) Flush() error { return n.both(blockdev.Node.Flush) }

// Close flushes; the images belong to the graph.
func (n *Node) Close() error { return n.Flush() }

// Receive passes events on to the image under test.
func (n *Node) Receive(e blockdev.Event) { blockdev.Raise(n.test, e) }

// AllocatedSize is not known, as in QEMU.
func (n *Node) AllocatedSize() (int64, error) {
	return 0, blockdev.Errorf(blockdev.ErrNotSupported, "size", "", "Operation not supported")
}
