package vvfat

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// hostFiles reads the directory's files. os.Root keeps every name inside the directory,
// whatever symbolic links say.
type hostFiles struct {
	root *os.Root
	dir  string
}

// stamp is by what a change of a file is noticed.
type stamp struct {
	size  int64
	mtime int64 // nanoseconds since 1970
}

func stampOf(info fs.FileInfo) stamp { return stamp{info.Size(), info.ModTime().UnixNano()} }

// stampAt is the stamp of the file at name, which this package has just changed.
func (h *hostFiles) stampAt(name string) (stamp, error) {
	info, err := h.root.Stat(name)
	if err != nil {
		return stamp{}, h.ioError("write", name, blockdev.NoOffset, err)
	}
	return stampOf(info), nil
}

// readAt fills p from a file that must still be as it was: before and after. It looks
// before it opens, as opening what has become a pipe waits for a writer.
func (h *hostFiles) readAt(name string, was stamp, p []byte, off int64) error {
	if err := h.check("read", name, was); err != nil {
		return err
	}
	f, err := h.root.Open(name)
	if err != nil {
		return h.ioError("read", name, off, err)
	}
	defer func() { _ = f.Close() }()
	if _, err := f.ReadAt(p, off); err != nil {
		if errors.Is(err, io.EOF) {
			return h.changed("read", name, off)
		}
		return h.ioError("read", name, off, err)
	}
	return h.same(f, name, was, off)
}

func (h *hostFiles) same(f *os.File, name string, was stamp, off int64) error {
	info, err := f.Stat()
	if err != nil {
		return h.ioError("read", name, off, err)
	}
	if !info.Mode().IsRegular() || stampOf(info) != was {
		return h.changed("read", name, off)
	}
	return nil
}

// check fails unless the file at name is as it was.
func (h *hostFiles) check(op, name string, was stamp) error {
	info, err := h.root.Stat(name)
	if err != nil {
		return h.ioError(op, name, blockdev.NoOffset, err)
	}
	if !info.Mode().IsRegular() || stampOf(info) != was {
		return h.changed(op, name, blockdev.NoOffset)
	}
	return nil
}

// absent fails if there is something at name.
func (h *hostFiles) absent(name string) error {
	if _, err := h.root.Lstat(name); err == nil {
		return h.changed("write", name, blockdev.NoOffset)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return h.ioError("write", name, blockdev.NoOffset, err)
	}
	return nil
}

// changed says that somebody else changed a file of the host.
func (h *hostFiles) changed(op, name string, off int64) error {
	full := path.Join(h.dir, name)
	return blockdev.ErrorAt(blockdev.ErrInUse, op, full, off, "'%s' was changed on the host while it is in use as part of a disk", full)
}

func (h *hostFiles) ioError(op, name string, off int64, err error) error {
	full := path.Join(h.dir, name)
	return &blockdev.Error{Op: op, File: full, Offset: off, Text: "'" + full + "'", Err: systemError(err)}
}

// systemError is the system's part of an error of package os.
func systemError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	var le *os.LinkError
	if errors.As(err, &le) {
		return le.Err
	}
	return err
}

// setTime gives a file the time that the guest gave it.
func (h *hostFiles) setTime(name string, t fatTime) error {
	at, ok := t.Time()
	if !ok {
		at = time.Now()
	}
	return h.root.Chtimes(name, at, at)
}
