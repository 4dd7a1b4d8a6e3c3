package file

import (
	"errors"
	"os"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// Storage is what a Node lies on: a regular file, or a drive of the host.
type Storage interface {
	// Open opens name as os.OpenFile does.
	Open(name string, flags int) (*os.File, error)
	// Examine tells about an open file, or refuses it.
	Examine(f *os.File, name string) (Geometry, error)
	// Discard gives the storage of a range back, PunchHole so that it reads as zeroes
	// afterwards. ZeroRange makes it zeroes with the storage kept. An error for which
	// the system is not to be asked again is the system's own, or ErrNotSupported.
	Discard(f *os.File, off, n int64) error
	PunchHole(f *os.File, off, n int64) error
	ZeroRange(f *os.File, off, n int64) error
}

type rangeCall = func(f *os.File, off, n int64) error

// Geometry of a storage, in bytes.
type Geometry struct {
	Size    int64
	Fixed   bool  // Size cannot be changed
	Sector  int64 // what requests that bypass the cache are multiples of
	Aligned bool  // all others have to be, too
}

// regular is a regular file.
type regular struct{}

func (regular) Open(name string, flags int) (*os.File, error) {
	f, err := os.OpenFile(name, flags, 0)
	// Windows gives no reason why a directory cannot be opened.
	if err != nil && !errors.Is(err, syscall.EISDIR) && isDirectory(name) {
		return nil, notRegular(name)
	}
	return f, err
}

func isDirectory(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

func (regular) Examine(f *os.File, name string) (Geometry, error) {
	info, err := f.Stat()
	if err != nil {
		return Geometry{}, err
	}
	if !info.Mode().IsRegular() {
		return Geometry{}, notRegular(name)
	}
	return Geometry{Size: info.Size(), Sector: directAlign}, nil
}

func notRegular(name string) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "open", name, "'file' driver requires '%s' to be a regular file", name)
}

func (regular) Discard(f *os.File, off, n int64) error   { return punchHole(f, off, n) }
func (regular) PunchHole(f *os.File, off, n int64) error { return punchHole(f, off, n) }
func (regular) ZeroRange(f *os.File, off, n int64) error { return zeroRange(f, off, n) }
