package hostdev

import (
	"os"

	"github.com/qmon/qmon/blockdev/file"
)

// kind is what a name may be.
type kind uint8

const (
	kindNone kind = iota // no drive
	kindDisk
	kindCD
)

// system is what a host knows of its drives.
type system interface {
	// identify tells what a plain name is. It may open the device.
	identify(name string) kind
	// resolve is the path to open for a name.
	resolve(name string) (string, error)
	// open opens a path as os.OpenFile does; a CD drive also if there is no medium in it.
	open(path string, flags int, driver string) (*os.File, error)
	// geometry examines an open device, or refuses what is none.
	geometry(f *os.File, name, driver string) (file.Geometry, error)
	// wholeDisk tells if a path is a disk as a whole, with what the host keeps on it,
	// rather than a part of one or a file that looks like a disk.
	wholeDisk(path string) bool

	discard(f *os.File, off, n int64) error   // contents are undefined afterwards
	punchHole(f *os.File, off, n int64) error // a discard that leaves zeroes
	zeroRange(f *os.File, off, n int64) error

	// What CD drives do. hasMedium also tells if the medium is another than last time.
	hasMedium(f *os.File) (present, changed bool, err error)
	eject(f *os.File, open bool) error
	lock(f *os.File, on bool) error
}

// calls are the system calls below a system. Tests have others.
type calls interface {
	// mode is what kind of file path leads to, fileMode what an open one is.
	mode(path string) (os.FileMode, error)
	fileMode(f *os.File) (os.FileMode, error)
	open(path string, flags int) (*os.File, error)
	// control is ioctl with a pointer to arg, or DeviceIoControl with arg for both ways.
	control(f *os.File, request uint32, arg []byte) error
	// value is ioctl with an integer for an argument.
	value(f *os.File, request uint32, v int) (int, error)
}

// opticalSector is the length of a CD's sector in bytes.
const opticalSector = 2048

// storage makes a drive of the host what a file.Node lies on.
type storage struct {
	system
	driver string
}

var _ file.Storage = (*storage)(nil)

// Open implements file.Storage.
func (s *storage) Open(name string, flags int) (*os.File, error) {
	return s.open(name, flags, s.driver)
}

// Examine implements file.Storage.
func (s *storage) Examine(f *os.File, name string) (file.Geometry, error) {
	return s.geometry(f, name, s.driver)
}

// Discard implements file.Storage.
func (s *storage) Discard(f *os.File, off, n int64) error { return s.discard(f, off, n) }

// PunchHole implements file.Storage.
func (s *storage) PunchHole(f *os.File, off, n int64) error { return s.punchHole(f, off, n) }

// ZeroRange implements file.Storage.
func (s *storage) ZeroRange(f *os.File, off, n int64) error { return s.zeroRange(f, off, n) }

// kinds are the calls that every system has.
type kinds struct{}

func (kinds) mode(path string) (os.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}

func (kinds) fileMode(f *os.File) (os.FileMode, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return info.Mode(), nil
}
