// Package file is the protocol of local files: where most bytes live.
//
//	Node --- os.File (pread, pwrite, fdatasync)
//	  |         |
//	  |         +-- byte locks 100..103 and 201, 203: what QEMU takes (lock_linux.go)
//	  +-- Map: SEEK_DATA, SEEK_HOLE
//	  +-- Storage: opening, size, Discard, WriteZeroes: fallocate (hole_linux.go)
//
// Where the system offers no such thing (anything but Linux) files have no holes that we
// know of, zeroes are written, and nothing is locked.
//
// The drives of the host, package hostdev, are nodes of this package with another
// [Storage].
package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name:          "file",
		Protocol:      true,
		Prefixes:      []string{"file"},
		OpenOptions:   OpenOptions,
		CreateOptions: createOptions,
		Open:          open,
		Create:        create,
		Remove:        os.Remove,
	})
}

// OpenOptions are QEMU's, for files and for drives of the host. Those without effect here
// tune how QEMU itself does its I/O.
var OpenOptions = blockdev.OptionTable{
	{Name: "filename", Type: blockdev.OptString, Help: "File name of the image"},
	{Name: "aio", Type: blockdev.OptString, Help: "host AIO implementation (threads, native, io_uring); no effect"},
	{Name: "aio-max-batch", Type: blockdev.OptInt, Help: "AIO max batch size; no effect"},
	{Name: "locking", Type: blockdev.OptString, Help: "file locking mode (on/off/auto, default: auto)"},
	{Name: "pr-manager", Type: blockdev.OptString, Help: "id of persistent reservation manager object; no effect"},
	{Name: "drop-cache", Type: blockdev.OptBool, Help: "invalidate page cache during live migration; no effect"},
	{Name: "x-check-cache-dropped", Type: blockdev.OptBool, Help: "check that page cache was dropped; no effect"},
}

// createOptions are QEMU's for protocols of local files.
var createOptions = blockdev.OptionTable{
	{Name: "extent_size_hint", Type: blockdev.OptSize, Help: "Extent size hint for the image file, 0 to disable"},
	{Name: "nocow", Type: blockdev.OptBool, Help: "Turn off copy-on-write (valid only on btrfs)"},
	{Name: "preallocation", Type: blockdev.OptString, Help: "Preallocation mode (allowed values: off, falloc, full)"},
}

// Node is an open file, or a drive of the host.
type Node struct {
	name    string
	mode    blockdev.Mode
	storage Storage
	fixed   bool // the size cannot be changed
	locks   bool // locks are taken

	// mu is held for reading while f is used, for writing by what bears nothing beside it:
	// replacing f, and reading, changing and writing back a block of it.
	mu       sync.RWMutex
	f        *os.File
	writable bool

	size atomic.Int64
	// grow keeps writes past the end from setting size to less than another just did.
	grow sync.Mutex

	noDiscard, noPunch, noZeroRange atomic.Bool // the system said that it cannot

	align int64 // that memory, offsets and lengths must have, 1 for any
}

var (
	_ blockdev.Node           = (*Node)(nil)
	_ blockdev.ZeroWriter     = (*Node)(nil)
	_ blockdev.Discarder      = (*Node)(nil)
	_ blockdev.Resizer        = (*Node)(nil)
	_ blockdev.Reopener       = (*Node)(nil)
	_ blockdev.AllocatedSizer = (*Node)(nil)
	_ blockdev.RangeCopier    = (*Node)(nil)
)

// open opens a regular file.
func open(_ context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	name, _ := r.Options["filename"].(string)
	if name == "" {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "The 'file' block driver requires a file name")
	}
	n, err := Open(name, r, regular{})
	if err != nil {
		return nil, err
	}
	return n, nil
}

// Open opens name on a storage, in r's mode and with its options, falling back to
// read-only where that is allowed.
func Open(name string, r blockdev.OpenRequest, s Storage) (*Node, error) {
	locks, err := locking(r)
	if err != nil {
		return nil, err
	}
	n := &Node{name: name, mode: r.Mode, storage: s, locks: locks, align: 1}
	n.writable = r.Mode.Writable
	err = n.openFile()
	if n.writable && r.Mode.AutoReadOnly && isReadOnlyError(err) {
		n.writable = false
		err = n.openFile()
	}
	if err != nil {
		return nil, err
	}
	return n, nil
}

// locking reads the locking option; force-share takes no locks.
func locking(r blockdev.OpenRequest) (bool, error) {
	if aio, ok := r.Options["aio"].(string); ok && aio != "threads" && aio != "native" && aio != "io_uring" {
		return false, blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename, "invalid parameter value: %s", aio)
	}
	s, _ := r.Options["locking"].(string)
	switch s {
	case "", "auto", "on":
		return !r.Mode.ForceShare, nil
	case "off":
		return false, nil
	}
	return false, blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename, "invalid parameter value: %s", s)
}

// openFile opens, examines and locks the file.
func (n *Node) openFile() error {
	f, err := n.openHandle(n.writable)
	if err != nil {
		return err
	}
	n.f = f
	if err := n.examine(); err != nil {
		_ = f.Close() // what examine found is the error to report
		return err
	}
	if n.locks {
		if err := lockFile(f, n.name, n.writable); err != nil {
			_ = f.Close() // the lock's error is the one to report
			return err
		}
	}
	return nil
}

func (n *Node) openHandle(writable bool) (*os.File, error) {
	flags := os.O_RDONLY
	if writable {
		flags = os.O_RDWR
	}
	f, err := n.storage.Open(n.name, flags|directFlag(n.mode.Cache.Direct))
	if err != nil {
		return nil, openError(n.name, err)
	}
	return f, nil
}

// openError words err, from opening name, as QEMU does. An error of the block layer says
// enough.
func openError(name string, err error) error {
	var own *blockdev.Error
	if errors.As(err, &own) {
		return err
	}
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	return &blockdev.Error{Op: "open", File: name, Offset: blockdev.NoOffset,
		Text: fmt.Sprintf("Could not open '%s'", name), Err: err}
}

// examine finds out how long the file is, and how it wants to be read.
func (n *Node) examine() error {
	g, err := n.storage.Examine(n.f, n.name)
	if err != nil {
		return openError(n.name, err)
	}
	n.fixed, n.align = g.Fixed, 1
	if n.mode.Cache.Direct || g.Aligned {
		n.align = g.Sector
	}
	n.size.Store(g.Size)
	return nil
}

// Examine looks at the file again, through a new handle: another medium may be in the
// drive.
func (n *Node) Examine() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	f, err := n.openHandle(n.writable)
	if err != nil {
		return err
	}
	if err := n.replace(f, n.writable); err != nil {
		return err
	}
	return n.measure()
}

// measure asks how long the file is now.
func (n *Node) measure() error {
	g, err := n.storage.Examine(n.f, n.name)
	if err != nil {
		return openError(n.name, err)
	}
	n.size.Store(g.Size)
	return nil
}

// Handle calls fn with the open file, which stays open meanwhile.
func (n *Node) Handle(fn func(*os.File) error) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return fn(n.f)
}

// FileInfo says which file of the host this is: backing chains that loop are found by it.
func (n *Node) FileInfo() (os.FileInfo, error) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.f.Stat()
}

// Writable tells if the file is open for writing: not after falling back to read-only.
func (n *Node) Writable() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.writable
}

// Size is the file's length.
func (n *Node) Size() int64 { return n.size.Load() }

// ReadAt reads what the file holds.
func (n *Node) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", n, off, int64(len(p))); err != nil {
		return 0, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if !n.aligned(p, off) {
		return n.readBounced(p, off)
	}
	return n.readFull(p, off)
}

// readFull reads all of p; what somebody cut off the file meanwhile reads as zeroes.
func (n *Node) readFull(p []byte, off int64) (int, error) {
	k, err := n.f.ReadAt(p, off)
	if errors.Is(err, io.EOF) {
		clear(p[k:])
		err = nil
	}
	if err != nil {
		return 0, n.ioError("read", off, err)
	}
	return len(p), nil
}

// WriteAt writes p; a regular file grows as needed.
func (n *Node) WriteAt(p []byte, off int64) (int, error) {
	if err := n.checkWrite("write", off, int64(len(p))); err != nil || len(p) == 0 {
		return 0, err
	}
	write := n.writeShared
	if !n.aligned(p, off) {
		write = n.writeBounced
	}
	if err := write(p, off); err != nil {
		return 0, n.ioError("write", off, err)
	}
	return len(p), nil
}

// writeShared writes beside other requests.
func (n *Node) writeShared(p []byte, off int64) error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if _, err := n.f.WriteAt(p, off); err != nil {
		return err
	}
	n.grown(off + int64(len(p)))
	return nil
}

// checkWrite tells if a change of the range is allowed.
func (n *Node) checkWrite(op string, off, length int64) error {
	if !n.Writable() {
		return blockdev.Errorf(blockdev.ErrReadOnly, op, n.name, "Block node is read-only")
	}
	if off < 0 || length < 0 || off > blockdev.MaxSize-length {
		return blockdev.ErrorAt(blockdev.ErrRange, op, n.name, off, "%d bytes end past the largest size", length)
	}
	if n.fixed && off+length > n.Size() {
		return &blockdev.Error{Kind: blockdev.ErrNoSpace, Op: op, File: n.name, Offset: off, Err: syscall.ENOSPC}
	}
	return nil
}

// grown notes that the file reaches to end.
func (n *Node) grown(end int64) {
	if end <= n.size.Load() {
		return
	}
	n.grow.Lock()
	defer n.grow.Unlock()
	n.size.Store(max(end, n.size.Load()))
}

// ioError wraps an error of the system.
func (n *Node) ioError(op string, off int64, err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	e := &blockdev.Error{Op: op, File: n.name, Offset: off, Err: err}
	if isNoSpace(err) {
		e.Kind = blockdev.ErrNoSpace
	}
	return e
}

// Flush waits until the disk has everything, unless the cache mode says not to.
func (n *Node) Flush() error {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.mode.Cache.NoFlush || !n.writable {
		return nil
	}
	if err := dataSync(n.f); err != nil {
		return n.ioError("flush", blockdev.NoOffset, err)
	}
	return nil
}

// Close flushes and closes the file; the locks go with it.
func (n *Node) Close() error {
	err := n.Flush()
	n.mu.Lock()
	defer n.mu.Unlock()
	if cerr := n.f.Close(); err == nil && cerr != nil {
		err = n.ioError("close", blockdev.NoOffset, cerr)
	}
	return err
}

// ReopenWritable replaces the handle, so that a lock or permission that cannot be had
// leaves everything as it was. What was written is flushed before writing ends, as
// flushing a read-only file does nothing.
func (n *Node) ReopenWritable(writable bool) error {
	if !writable {
		if err := n.Flush(); err != nil {
			return err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.writable == writable {
		return nil
	}
	f, err := n.openHandle(writable)
	if err != nil {
		return err
	}
	if err := n.sameFile(f); err != nil {
		_ = f.Close() // the reason for giving up is reported instead
		return err
	}
	return n.replace(f, writable)
}

// replace goes on with handle f, or closes it. The caller holds mu.
func (n *Node) replace(f *os.File, writable bool) error {
	if err := n.relock(f, writable); err != nil {
		_ = f.Close() // the lock's error is the one to report
		return err
	}
	old := n.f
	n.f, n.writable = f, writable
	if err := old.Close(); err != nil {
		return n.ioError("close", blockdev.NoOffset, err)
	}
	return nil
}

// sameFile makes sure that the name still leads to the file that is open. Of drives some
// systems cannot tell.
func (n *Node) sameFile(f *os.File) error {
	was, err := n.f.Stat()
	if err != nil && n.fixed {
		return nil
	}
	if err != nil {
		return n.ioError("reopen", blockdev.NoOffset, err)
	}
	is, err := f.Stat()
	if err != nil {
		return n.ioError("reopen", blockdev.NoOffset, err)
	}
	if !os.SameFile(was, is) {
		return blockdev.Errorf(blockdev.ErrInUse, "reopen", n.name, "the file was replaced by another")
	}
	return nil
}

// relock moves the locks from the open handle to f. The old ones are in the way of the
// new ones and go first; if those cannot be had the old ones come back.
func (n *Node) relock(f *os.File, writable bool) error {
	if !n.locks {
		return nil
	}
	if err := unlockFile(n.f); err != nil {
		return n.ioError("reopen", blockdev.NoOffset, err)
	}
	err := lockFile(f, n.name, writable)
	if err == nil {
		return nil
	}
	if back := errors.Join(unlockFile(f), lockFile(n.f, n.name, n.writable)); back != nil {
		return errors.Join(err, back)
	}
	return err
}
