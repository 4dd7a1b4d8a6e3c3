package file

import (
	"context"
	"fmt"
	"os"

	"github.com/qmon/qmon/blockdev"
)

// create makes an empty file, or empties the one that is there, once nobody else uses it.
func create(_ context.Context, r blockdev.CreateRequest) error {
	f, err := os.OpenFile(r.Filename, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		e := openError(r.Filename, err).(*blockdev.Error)
		e.Op, e.Text = "create", fmt.Sprintf("Could not create '%s'", r.Filename)
		return e
	}
	n := &Node{name: r.Filename, f: f, storage: regular{}, writable: true, align: 1}
	preallocation, _ := r.Options["preallocation"].(string)
	err = n.initialize(r.Size, preallocation)
	if cerr := n.Close(); err == nil {
		err = cerr
	}
	return err
}

// initialize gives a file that is being created its size.
func (n *Node) initialize(size int64, preallocation string) error {
	if err := n.examine(); err != nil {
		return err
	}
	if err := lockFile(n.f, n.name, true); err != nil {
		return err
	}
	if err := n.truncate(0); err != nil {
		return err
	}
	return n.Resize(size, blockdev.ResizeOptions{Preallocation: preallocation})
}

// Resize changes the file's length; what is new reads as zeroes.
func (n *Node) Resize(size int64, o blockdev.ResizeOptions) error {
	if n.fixed {
		return n.keepSize(size, o)
	}
	if err := n.checkWrite("resize", 0, size); err != nil {
		return err
	}
	old := n.size.Load()
	if size < old && o.Preallocation != "" && o.Preallocation != "off" {
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", n.name, "Preallocation can't be used for shrinking files")
	}
	var err error
	switch o.Preallocation {
	case "", "off":
		return n.truncate(size)
	case "falloc":
		err = n.reserve(old, size-old)
	case "full":
		err = blockdev.WriteZeroBytes(n, old, size-old)
	default:
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", n.name, "Unsupported preallocation mode: %s", o.Preallocation)
	}
	if err != nil { // what there was room for is given back
		_ = n.truncate(old) // the reason is reported instead
	}
	return err
}

// keepSize is Resize where the size is fixed: it looks how large the drive is now, as
// volumes grow. A larger one will do if the size need not be exact.
func (n *Node) keepSize(size int64, o blockdev.ResizeOptions) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err := n.measure(); err != nil {
		return err
	}
	switch {
	case o.Preallocation != "" && o.Preallocation != "off":
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", n.name, "Unsupported preallocation mode '%s'", o.Preallocation)
	case o.Exact && size != n.Size():
		return blockdev.Errorf(blockdev.ErrNotSupported, "resize", n.name, "Cannot resize device files")
	case size > n.Size():
		return blockdev.Errorf(blockdev.ErrNoSpace, "resize", n.name, "Cannot grow device files")
	}
	return nil
}

// FixedSize implements blockdev.FixedSizer.
func (n *Node) FixedSize() bool { return n.fixed }

// reserve makes the file longer, with storage for what is new.
func (n *Node) reserve(off, length int64) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if err := preallocate(n.f, off, length); err != nil {
		return n.ioError("resize", off, err)
	}
	n.grown(off + length)
	return nil
}

// truncate sets the length.
func (n *Node) truncate(size int64) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	n.grow.Lock()
	defer n.grow.Unlock()
	if err := n.f.Truncate(size); err != nil {
		return n.ioError("resize", size, err)
	}
	n.size.Store(size)
	return nil
}
