// Package quorum is the driver that keeps the same bytes in several images and, when they
// are read, believes the majority:
//
//	         +--> child 0: A
//	read --> +--> child 1: A   --> vote: A has 2 of vote-threshold 2 --> A
//	         +--> child 2: B       and with rewrite-corrupted child 2 becomes A
//
// A write succeeds if vote-threshold children took it. With read-pattern=fifo the first
// child that can be read is believed.
package quorum

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:        "quorum",
		Children:    []blockdev.Child{{Name: childrenOption, List: true, Image: true}},
		OpenOptions: openOptions,
		Open:        open,
	})
}

const childrenOption = "children"

const (
	readQuorum = "quorum"
	readFIFO   = "fifo"
)

var openOptions = blockdev.OptionTable{
	{Name: "vote-threshold", Type: blockdev.OptInt, Help: "how many children must agree"},
	{Name: "blkverify", Type: blockdev.OptBool, Help: "two children that must not differ"},
	{Name: "rewrite-corrupted", Type: blockdev.OptBool, Help: "give children that lost a vote the right bytes"},
	{Name: "read-pattern", Type: blockdev.OptString, Default: readQuorum, Help: "quorum: ask all; fifo: the first that answers"},
}

// options are the driver's, decoded.
type options struct {
	Threshold int64  `option:"vote-threshold"`
	Verify    bool   `option:"blkverify"`
	Rewrite   bool   `option:"rewrite-corrupted"`
	Pattern   string `option:"read-pattern"`
}

// maxChildren is QEMU's limit of a quorum's children.
const maxChildren = 32

// Node is the driver's.
type Node struct {
	options
	children []blockdev.Node
	// voting keeps writes from changing some children while all are read.
	voting sync.RWMutex
}

var (
	_ blockdev.Node           = (*Node)(nil)
	_ blockdev.ZeroWriter     = (*Node)(nil)
	_ blockdev.Discarder      = (*Node)(nil)
	_ blockdev.Reopener       = (*Node)(nil)
	_ blockdev.Limiter        = (*Node)(nil)
	_ blockdev.AllocatedSizer = (*Node)(nil)
	_ blockdev.EventReceiver  = (*Node)(nil)
)

func invalid(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "open", "", format, args...)
}

func open(ctx context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	n := &Node{}
	if err := r.Options.Decode(&n.options); err != nil {
		return nil, err
	}
	count := r.ListLength(childrenOption)
	if err := n.validate(count); err != nil {
		return nil, err
	}
	for i := range count {
		c, err := r.OpenChild(ctx, fmt.Sprintf("%s.%d", childrenOption, i))
		if err != nil {
			return nil, err
		}
		n.children = append(n.children, c)
		if c.Size() != n.children[0].Size() {
			return nil, &blockdev.Error{Op: "open", Offset: blockdev.NoOffset, Text: "Could not refresh total sector count", Err: syscall.EIO}
		}
	}
	return n, nil
}

func (o options) validate(count int) error {
	switch {
	case count < 0:
		return invalid("Option children is not a valid array")
	case count < 1:
		return invalid("Number of provided children must be 1 or more")
	case count > maxChildren:
		return invalid("more than %d children", maxChildren)
	case o.Threshold < 1:
		return invalid("Parameter 'vote-threshold' expects a value >= 1")
	case o.Threshold > int64(count):
		return invalid("threshold may not exceed children count")
	case o.Pattern != readQuorum && o.Pattern != readFIFO:
		return invalid("Please set read-pattern as fifo or quorum")
	case o.Pattern == readFIFO:
		return nil // there is no vote to be had
	case o.Verify && (count != 2 || o.Threshold != 2):
		return invalid("blkverify=on can only be set if there are exactly two files and vote-threshold is 2")
	case o.Verify && o.Rewrite:
		return invalid("rewrite-corrupted=on cannot be used with blkverify=on")
	}
	return nil
}

// Size is that of every child.
func (n *Node) Size() int64 { return n.children[0].Size() }

// ReadAt reads what the children agree on.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	if n.Pattern == readFIFO {
		return n.readFirst(p, off)
	}
	if !n.Rewrite {
		n.voting.RLock()
		defer n.voting.RUnlock()
	} else {
		n.voting.Lock()
		defer n.voting.Unlock()
	}
	return n.readVoting(p, off)
}

// readFirst reads from the first child that can.
func (n *Node) readFirst(p []byte, off int64) (k int, err error) {
	for _, c := range n.children {
		if k, err = c.ReadAt(p, off); err == nil {
			return k, nil
		}
	}
	return 0, err
}

// ballot is what some children have said.
type ballot struct {
	data   []byte
	voters []int
}

// readVoting reads all children and takes what enough of them say.
func (n *Node) readVoting(p []byte, off int64) (int, error) {
	bufs := make([][]byte, len(n.children))
	errs := n.all(func(i int, c blockdev.Node) error {
		bufs[i] = make([]byte, len(p))
		_, err := c.ReadAt(bufs[i], off)
		return err
	})
	if err := n.enough(errs); err != nil {
		return 0, err
	}
	votes := map[[sha256.Size]byte]*ballot{}
	var winner *ballot
	for i, b := range bufs {
		if errs[i] != nil {
			continue
		}
		key := sha256.Sum256(b)
		v := votes[key]
		if v == nil {
			v = &ballot{data: b}
			votes[key] = v
		}
		v.voters = append(v.voters, i)
		if winner == nil || len(v.voters) > len(winner.voters) {
			winner = v
		}
	}
	if n.Verify && len(votes) > 1 {
		return 0, mismatch(bufs[0], bufs[1], off)
	}
	if int64(len(winner.voters)) < n.Threshold {
		return 0, &blockdev.Error{Op: "read", Offset: off, Text: "the children do not agree", Err: syscall.EIO}
	}
	copy(p, winner.data)
	if n.Rewrite && len(votes) > 1 {
		n.rewrite(votes, winner, off)
	}
	return len(p), nil
}

// rewrite gives the losers of a vote the winner's bytes. If that fails they lose again.
func (n *Node) rewrite(votes map[[sha256.Size]byte]*ballot, winner *ballot, off int64) {
	for _, v := range votes {
		if v == winner {
			continue
		}
		for _, i := range v.voters {
			_, _ = n.children[i].WriteAt(winner.data, off)
		}
	}
}

// mismatch is the error of two children that must not differ.
func mismatch(a, b []byte, off int64) error {
	i := 0
	for a[i] == b[i] {
		i++
	}
	return blockdev.ErrorAt(blockdev.ErrMismatch, "read", "", off,
		"quorum: offset=%d bytes=%d contents mismatch at offset %d", off, len(a), off+int64(i))
}

// all does something with every child at once.
func (n *Node) all(do func(i int, c blockdev.Node) error) []error {
	errs := make([]error, len(n.children))
	var wg sync.WaitGroup
	for i, c := range n.children {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = do(i, c)
		}()
	}
	wg.Wait()
	return errs
}

// enough fails with the error that most children had, if too few had none.
func (n *Node) enough(errs []error) error {
	good := int64(0)
	count := map[string]int{}
	var worst error
	for _, err := range errs {
		if err == nil {
			good++
			continue
		}
		m := blockdev.Message(err)
		count[m]++
		if worst == nil || count[m] > count[blockdev.Message(worst)] {
			worst = err
		}
	}
	if good >= n.Threshold {
		return nil
	}
	return worst
}

// change does what changes the children.
func (n *Node) change(do func(c blockdev.Node) error) error {
	n.voting.RLock()
	defer n.voting.RUnlock()
	return n.enough(n.all(func(_ int, c blockdev.Node) error { return do(c) }))
}

// WriteAt writes to all children.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("write", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	err := n.change(func(c blockdev.Node) error {
		_, err := c.WriteAt(p, off)
		return err
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// WriteZeroes writes zeroes to all children.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	return n.change(func(c blockdev.Node) error { return blockdev.WriteZeroes(c, off, length, flags) })
}

// Discard passes on to all children.
func (n *Node) Discard(off, length int64) error {
	return n.change(func(c blockdev.Node) error { return blockdev.Discard(c, off, length) })
}

// Map says zero where all children do; anything else is put to the vote.
func (n *Node) Map(off, length int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", n, off, length); err != nil {
		return blockdev.Extent{}, err
	}
	zero := true
	for _, c := range n.children {
		s, err := blockdev.BlockStatus(c, off, length, nil)
		if err != nil {
			return blockdev.Extent{}, err
		}
		zero = zero && (s.Kind == blockdev.ExtentZero || s.Kind == blockdev.ExtentUnallocated)
		length = s.Len
	}
	kind := blockdev.ExtentData
	if zero {
		kind = blockdev.ExtentZero
	}
	return blockdev.Extent{Kind: kind, Len: length, Node: n, Host: off, Allocated: true}, nil
}

// Flush flushes all children.
func (n *Node) Flush() error {
	return n.enough(n.all(func(_ int, c blockdev.Node) error { return c.Flush() }))
}

// Close flushes; the children belong to the graph.
func (n *Node) Close() error { return n.Flush() }

// ReopenWritable has nothing to do: the children are what is writable or not.
func (n *Node) ReopenWritable(bool) error { return nil }

// Limits suit every child.
func (n *Node) Limits() blockdev.Limits {
	all := blockdev.LimitsOf(n.children[0])
	for _, c := range n.children[1:] {
		l := blockdev.LimitsOf(c)
		all.Alignment = max(all.Alignment, l.Alignment)
		all.ZeroAlignment = max(all.ZeroAlignment, l.ZeroAlignment)
		all.DiscardAlignment = max(all.DiscardAlignment, l.DiscardAlignment)
		all.OptimalTransfer = max(all.OptimalTransfer, l.OptimalTransfer)
		if l.MaxTransfer > 0 && (all.MaxTransfer == 0 || l.MaxTransfer < all.MaxTransfer) {
			all.MaxTransfer = l.MaxTransfer
		}
	}
	return all
}

// AllocatedSize is the sum of the children's.
func (n *Node) AllocatedSize() (sum int64, err error) {
	for _, c := range n.children {
		a, ok := c.(blockdev.AllocatedSizer)
		if !ok {
			return 0, blockdev.Errorf(blockdev.ErrNotSupported, "size", "", "Operation not supported")
		}
		k, err := a.AllocatedSize()
		if err != nil {
			return 0, err
		}
		sum += k
	}
	return sum, nil
}

// Receive passes events on to all children.
func (n *Node) Receive(e blockdev.Event) {
	for _, c := range n.children {
		blockdev.Raise(c, e)
	}
}
