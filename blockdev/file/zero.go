package file

import (
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
)

// WriteZeroes makes the range read as zeroes: by a hole where storage may be given back,
// by a reserved range of zeroes where the file system has them, else by writing. What
// the file system cannot do at all is not asked for again.
func (n *Node) WriteZeroes(off, length int64, flags blockdev.ZeroFlags) error {
	if err := n.checkWrite("write", off, length); err != nil || length == 0 {
		return err
	}
	if ok, err := n.zeroByCall(off, length, flags); ok {
		return err
	}
	if flags&blockdev.ZeroNoFallback != 0 {
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", n.name, "Operation not supported")
	}
	return blockdev.WriteZeroBytes(n, off, length)
}

// zeroByCall leaves it to the file system; ok tells that it was tried and err is the outcome.
func (n *Node) zeroByCall(off, length int64, flags blockdev.ZeroFlags) (ok bool, err error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if flags&blockdev.ZeroMayUnmap != 0 && n.mode.Unmap {
		if ok, err := n.punch(off, length); ok {
			return ok, err
		}
	}
	return n.zeroRange(off, length)
}

// Discard gives the storage of the range back if the mode says so; it reads as zeroes
// afterwards where that worked. Nothing past the end is touched.
func (n *Node) Discard(off, length int64) error {
	if err := n.checkWrite("discard", off, length); err != nil {
		return err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	length = min(length, n.Size()-off)
	if length <= 0 || !n.mode.Unmap {
		return nil
	}
	_, err := n.try(n.storage.Discard, &n.noDiscard, "discard", off, length)
	return err
}

// try calls the system unless it has said that it cannot do that; ok tells that it was
// tried and err is the outcome.
func (n *Node) try(call rangeCall, never *atomic.Bool, op string, off, length int64) (ok bool, err error) {
	if never.Load() {
		return false, nil
	}
	err = call(n.f, off, length)
	if refused, forever := isRefusal(err); refused {
		never.Store(forever)
		return false, nil
	}
	if err != nil {
		return true, n.ioError(op, off, err)
	}
	return true, nil
}

// punch makes a hole. A range that ends past the end of the file makes the file longer.
func (n *Node) punch(off, length int64) (ok bool, err error) {
	ok, err = n.try(n.storage.PunchHole, &n.noPunch, "discard", off, length)
	if ok && err == nil {
		err = n.growTo(off + length)
	}
	return ok, err
}

// zeroRange is punch with storage kept or reserved.
func (n *Node) zeroRange(off, length int64) (ok bool, err error) {
	ok, err = n.try(n.storage.ZeroRange, &n.noZeroRange, "write", off, length)
	if ok && err == nil {
		n.grown(off + length)
	}
	return ok, err
}

// growTo makes the file at least end bytes long.
func (n *Node) growTo(end int64) error {
	n.grow.Lock()
	defer n.grow.Unlock()
	if n.fixed || end <= n.size.Load() {
		return nil
	}
	if err := n.f.Truncate(end); err != nil {
		return n.ioError("resize", end, err)
	}
	n.size.Store(end)
	return nil
}
