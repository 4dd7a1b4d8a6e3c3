package file

import (
	"os"

	"github.com/qmon/qmon/blockdev"
)

// handled is a node over an open file: a Node, or what has one in it.
type handled interface {
	Handle(fn func(*os.File) error) error
}

// CopyRange has the system copy from another file. On file systems that can, the two then
// share the storage.
func (n *Node) CopyRange(src blockdev.Node, from, off, length int64) error {
	h, ok := src.(handled)
	if !ok || src == blockdev.Node(n) { // of one file no two handles are held
		return errNoCopyRange
	}
	if err := n.checkWrite("copy", off, length); err != nil {
		return err
	}
	return h.Handle(func(f *os.File) error {
		n.mu.RLock()
		defer n.mu.RUnlock()
		if err := copyRange(n.f, f, from, off, length); err != nil {
			if isCopyRefusal(err) {
				return errNoCopyRange
			}
			return n.ioError("copy", off, err)
		}
		n.grown(off + length)
		return nil
	})
}

var errNoCopyRange = blockdev.Errorf(blockdev.ErrNotSupported, "copy", "", "the host cannot copy between these files")
