package vvfat

import (
	"errors"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// quietTime is how long a guest must not have written before what it wrote is looked at
// without a flush. Firmware, for one, never flushes.
const quietTime = time.Second

// WriteAt keeps p for the next Flush.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	if !n.Writable() {
		return 0, blockdev.Errorf(blockdev.ErrReadOnly, "write", n.config.Dir, "Block node is read-only")
	}
	if err := blockdev.CheckRange("write", n, off, int64(len(p))); err != nil || len(p) == 0 {
		return 0, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.write(p, off); err != nil {
		return 0, &blockdev.Error{Op: "write", File: n.config.Dir, Offset: off, Err: err}
	}
	n.pending = true
	if n.quiet == nil {
		n.quiet = time.AfterFunc(quietTime, n.settleQuietly)
	} else {
		n.quiet.Reset(quietTime)
	}
	return len(p), nil
}

// write puts p into the overlay; sectors that it does not fill are completed.
func (n *Node) write(p []byte, off int64) error {
	if n.overlay == nil {
		o, err := newOverlay()
		if err != nil {
			return err
		}
		n.overlay = o
	}
	first, head := off/sectorSize, off%sectorSize
	if head == 0 && len(p)%sectorSize == 0 {
		return n.overlay.write(p, uint32(first))
	}
	whole := make([]byte, ceilDiv(head+int64(len(p)), sectorSize)*sectorSize)
	if err := n.readSectors(whole, uint32(first)); err != nil {
		return err
	}
	copy(whole[head:], p)
	return n.overlay.write(whole, uint32(first))
}

// unfinished says that what the guest wrote is no sound file system yet.
type unfinished struct{ reason string }

func (u *unfinished) Error() string { return u.reason }

func isUnfinished(err error) bool {
	var u *unfinished
	return errors.As(err, &u)
}

// settle makes the directory hold what the guest wrote, if that is consistent; else the
// error is an *unfinished. The caller holds mu for writing.
func (n *Node) settle() error {
	if !n.pending {
		return nil
	}
	root, err := n.walk()
	if err != nil {
		return err
	}
	if err := n.reconcile(root); err != nil {
		return err
	}
	n.pending = false
	return nil
}

// settleQuietly is what the timer does. An error is the next Flush's too.
func (n *Node) settleQuietly() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.closed {
		_ = n.settle() // the writes stay in the overlay, and Flush tries again
	}
}

// Flush brings the directory up to date, unless the guest is in the middle of a change:
// then the writes are kept, and the directory is as it was.
func (n *Node) Flush() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.settle(); !isUnfinished(err) {
		return err
	}
	return nil
}

// finish is settle where there will be no later chance: unfinished writes are an error.
func (n *Node) finish(op string) error {
	err := n.settle()
	if isUnfinished(err) {
		return &blockdev.Error{Kind: blockdev.ErrCorrupt, Op: op, File: n.config.Dir, Offset: blockdev.NoOffset,
			Text: "Directory '" + n.config.Dir + "' is not changed, as the file system written to it is not consistent", Err: err}
	}
	return err
}

// ReopenWritable lets a disk with rw be written, and ends that; changes that cannot be
// carried to the directory are an error then, and are kept.
func (n *Node) ReopenWritable(writable bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if writable && !n.config.RW {
		return blockdev.Errorf(blockdev.ErrReadOnly, "reopen", n.config.Dir, "Image is read-only")
	}
	if !writable {
		if err := n.finish("reopen"); err != nil {
			return err
		}
	}
	n.writable = writable
	return nil
}

// Close brings the directory up to date. What the guest left unfinished is lost, and that
// is an error.
func (n *Node) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return nil
	}
	n.closed = true
	if n.quiet != nil {
		n.quiet.Stop()
	}
	errs := []error{n.finish("close")}
	if n.overlay != nil {
		errs = append(errs, n.overlay.close())
	}
	errs = append(errs, n.files.root.Close())
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
