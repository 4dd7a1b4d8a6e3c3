package nbd

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// Node is an export as a node.
type Node struct {
	client   *client.Client
	mode     blockdev.Mode
	filename string
	context  string // of Map
	size     int64  // whole blocks
	block    int64  // the server's minimum
	writable atomic.Bool

	// blocks is held for writing by who changes part of a block, for reading by other writers.
	blocks sync.RWMutex
}

var (
	_ blockdev.Node       = (*Node)(nil)
	_ blockdev.ZeroWriter = (*Node)(nil)
	_ blockdev.Discarder  = (*Node)(nil)
	_ blockdev.Resizer    = (*Node)(nil)
	_ blockdev.Reopener   = (*Node)(nil)
	_ blockdev.Limiter    = (*Node)(nil)
)

func newNode(c *client.Client, m blockdev.Mode, context string) (*Node, error) {
	info := c.Info()
	n := &Node{client: c, mode: m, context: context, block: int64(info.Blocks.Minimum)}
	n.size = c.Size() / n.block * n.block
	readOnly := info.Flags&protocol.FlagReadOnly != 0
	if m.Writable && readOnly && !m.AutoReadOnly {
		return nil, readOnlyError("")
	}
	n.writable.Store(m.Writable && !readOnly)
	return n, nil
}

// Client is the connection, for what the block layer has no words for.
func (n *Node) Client() *client.Client { return n.client }

// Filename is the text that opens the export again, "" if text alone cannot.
func (n *Node) Filename() string { return n.filename }

// Writable tells if writes are allowed, by the mode and by the server.
func (n *Node) Writable() bool { return n.writable.Load() }

// Size is the export's, without a last block that is not whole.
func (n *Node) Size() int64 { return n.size }

// ReadAt reads from the server.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	if n.aligned(off, int64(len(p))) {
		return n.client.ReadAt(p, off)
	}
	return len(p), n.eachBlocks(off, int64(len(p)), func(buf []byte, at, from, to int64) error {
		if _, err := n.client.ReadAt(buf, at); err != nil {
			return err
		}
		copy(p[at+from-off:], buf[from:to])
		return nil
	})
}

// WriteAt writes to the server.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	if err := n.checkWrite("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	if n.aligned(off, int64(len(p))) {
		n.blocks.RLock()
		defer n.blocks.RUnlock()
		return n.client.WriteAt(p, off)
	}
	n.blocks.Lock()
	defer n.blocks.Unlock()
	err := n.eachBlocks(off, int64(len(p)), func(buf []byte, at, from, to int64) error {
		if _, err := n.client.ReadAt(buf, at); err != nil {
			return err
		}
		copy(buf[from:to], p[at+from-off:])
		_, err := n.client.WriteAt(buf, at)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (n *Node) aligned(off, length int64) bool { return (off|length)%n.block == 0 }

// bounceSize is how much is read and written at a time around what is not aligned, in
// bytes: a multiple of any block.
const bounceSize = 1 << 20

// eachBlocks calls do for the whole blocks that the range touches, a buffer at a time: buf
// is for what begins at at, and its bytes from..to are the range's.
func (n *Node) eachBlocks(off, length int64, do func(buf []byte, at, from, to int64) error) error {
	end := off + length
	first := off / n.block * n.block
	last := (end + n.block - 1) / n.block * n.block
	buf := make([]byte, min(bounceSize, last-first))
	for at := first; at < last; at += int64(len(buf)) {
		buf = buf[:min(int64(len(buf)), last-at)]
		if err := do(buf, at, max(off-at, 0), min(end-at, int64(len(buf)))); err != nil {
			return err
		}
	}
	return nil
}

func (n *Node) checkWrite(op string, off, length int64) error {
	if !n.Writable() {
		return blockdev.Errorf(blockdev.ErrReadOnly, op, n.filename, "Block node is read-only")
	}
	return blockdev.CheckRange(op, n, off, length)
}

// Map asks for base:allocation; without it everything is data, as a hole is whose bytes may
// be anything. Another context that was chosen in its place is shown as if it were that.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", n, off, length); err != nil {
		return blockdev.Extent{}, err
	}
	out := blockdev.Extent{Kind: blockdev.ExtentData, Len: length, Node: n, Host: off}
	if !n.client.HasContext(n.context) || !n.aligned(off, length) {
		return out, nil
	}
	e, err := n.client.ExtentAt(n.context, off, length)
	if err != nil {
		return blockdev.Extent{}, err
	}
	out.Len = int64(e.Length)
	hole := e.Flags&protocol.StateHole != 0
	switch {
	case e.Flags&protocol.StateZero != 0:
		out.Kind, out.Allocated, out.Written = blockdev.ExtentZero, !hole, !hole
	case hole && n.context != protocol.ContextAllocation:
		return blockdev.Extent{Kind: blockdev.ExtentUnallocated, Len: out.Len, Undefined: true}, nil
	}
	return out, nil
}

// WriteZeroes leaves it to the server where that can, and writes them where not.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	if err := n.checkWrite("write", off, length); err != nil {
		return err
	}
	var f protocol.CommandFlags
	if flags&blockdev.ZeroMayUnmap == 0 || !n.mode.Unmap {
		f |= protocol.CmdFlagNoHole
	}
	if flags&blockdev.ZeroNoFallback != 0 {
		f |= protocol.CmdFlagFastZero
	}
	begin := (off + n.block - 1) / n.block * n.block
	end := (off + length) / n.block * n.block
	if begin >= end {
		return blockdev.WriteZeroBytes(n, off, length)
	}
	err := n.zeroBlocks(begin, end-begin, f)
	if errors.Is(err, blockdev.ErrNotSupported) && flags&blockdev.ZeroNoFallback == 0 {
		return blockdev.WriteZeroBytes(n, off, length)
	}
	if err != nil {
		return err
	}
	if err := blockdev.WriteZeroBytes(n, off, begin-off); err != nil {
		return err
	}
	return blockdev.WriteZeroBytes(n, end, off+length-end)
}

func (n *Node) zeroBlocks(off, length int64, f protocol.CommandFlags) error {
	n.blocks.RLock()
	defer n.blocks.RUnlock()
	return n.client.WriteZeroes(off, length, f)
}

// Discard tells the server about the whole blocks of the range, if the mode says so.
func (n *Node) Discard(off, length int64) error {
	if err := n.checkWrite("discard", off, length); err != nil || !n.mode.Unmap {
		return err
	}
	begin := (off + n.block - 1) / n.block * n.block
	end := (off + length) / n.block * n.block
	if begin >= end {
		return nil
	}
	n.blocks.RLock()
	defer n.blocks.RUnlock()
	return n.client.Trim(begin, end-begin)
}

// Resize accepts the size that the export has, and no other.
func (n *Node) Resize(size int64, _ blockdev.ResizeOptions) error {
	switch {
	case size == n.size:
		return nil
	case size > n.size:
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", n.filename, "Cannot grow NBD nodes")
	}
	return blockdev.Errorf(blockdev.ErrNotSupported, "resize", n.filename, "Cannot resize NBD nodes")
}

// ReopenWritable changes what is allowed, within what the server allows.
func (n *Node) ReopenWritable(writable bool) error {
	if writable && n.client.Info().Flags&protocol.FlagReadOnly != 0 {
		return readOnlyError(n.filename)
	}
	if !writable {
		if err := n.Flush(); err != nil {
			return err
		}
	}
	n.writable.Store(writable)
	return nil
}

// Limits are the server's sizes.
func (n *Node) Limits() blockdev.Limits {
	b := n.client.Info().Blocks
	return blockdev.Limits{
		Alignment: 1, ZeroAlignment: n.block, DiscardAlignment: n.block,
		OptimalTransfer: int64(b.Preferred), MaxTransfer: int64(b.Maximum),
	}
}

// Flush makes the server write what it has, unless the cache mode says not to.
func (n *Node) Flush() error {
	if n.mode.Cache.NoFlush || !n.Writable() {
		return nil
	}
	return n.client.Flush()
}

// Close flushes and says goodbye.
func (n *Node) Close() error {
	return errors.Join(n.Flush(), n.client.Close())
}
