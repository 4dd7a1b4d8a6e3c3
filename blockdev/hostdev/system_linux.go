package hostdev

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/file"
)

var host system = linux{linuxCalls{}}

// linux is Linux' system: every block or character device is a drive (linux/fs.h,
// Documentation/userspace-api/ioctl/cdrom.rst).
type linux struct{ calls }

const (
	cdromEject        = 0x5309
	cdromCloseTray    = 0x5319
	cdromMediaChanged = 0x5325
	cdromDriveStatus  = 0x5326
	cdromLockDoor     = 0x5329

	cdCurrentSlot = math.MaxInt32 // CDSL_CURRENT
	cdDiscOK      = 4             // CDS_DISC_OK

	blkDiscard = 0x1277
	blkZeroOut = 0x127f
)

func (l linux) identify(name string) kind {
	mode, err := l.mode(name)
	if err != nil || mode&os.ModeDevice == 0 {
		return kindNone
	}
	if mode&os.ModeCharDevice == 0 && l.isCD(name) {
		return kindCD
	}
	return kindDisk
}

// isCD asks the device for the status of its tray, which only a CD drive has.
func (l linux) isCD(name string) bool {
	f, err := l.calls.open(name, os.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // nothing was written
	_, err = l.value(f, cdromDriveStatus, cdCurrentSlot)
	return err == nil
}

func (linux) resolve(name string) (string, error) { return name, nil }

func (l linux) open(path string, flags int, driver string) (*os.File, error) {
	if driver == cdDriver {
		flags |= unix.O_NONBLOCK // without it an empty drive cannot be opened
	}
	f, err := l.calls.open(path, flags)
	if err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
		return f, err
	}
	// The system opens a disk that is write-protected for writing, too.
	if !l.writeProtected(f) {
		return f, nil
	}
	return nil, errors.Join(notWritable(path), f.Close())
}

// writeProtected tells of a block device if it is; others do not know the question.
func (l linux) writeProtected(f *os.File) bool {
	var protected [4]byte
	return l.control(f, unix.BLKROGET, protected[:]) == nil && protected != [4]byte{}
}

func notWritable(path string) error {
	return &blockdev.Error{Kind: blockdev.ErrReadOnly, Op: "open", File: path, Offset: blockdev.NoOffset,
		Text: "The device is not writable", Err: unix.EACCES}
}

func (l linux) geometry(f *os.File, name, driver string) (file.Geometry, error) {
	mode, err := l.fileMode(f)
	if err != nil {
		return file.Geometry{}, err
	}
	switch {
	case mode&os.ModeDevice == 0:
		return file.Geometry{}, notDevice(name, driver)
	case mode&os.ModeCharDevice != 0:
		return characters(f, name)
	}
	if driver == cdDriver {
		if ready, err := l.ready(f); err != nil || !ready {
			return file.Geometry{Fixed: true, Sector: opticalSector}, err
		}
	}
	var size, sector [8]byte
	if err := l.control(f, unix.BLKGETSIZE64, size[:]); err != nil {
		return file.Geometry{}, err
	}
	if err := l.control(f, unix.BLKSSZGET, sector[:4]); err != nil {
		return file.Geometry{}, err
	}
	return file.Geometry{
		Size:   int64(binary.NativeEndian.Uint64(size[:])),
		Sector: int64(binary.NativeEndian.Uint32(sector[:])),
		Fixed:  true,
	}, nil
}

func notDevice(name, driver string) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "open", name,
		"'%s' driver requires '%s' to be either a character or block device", driver, name)
}

// characters is the geometry of a character device: /dev/null is a disk of no bytes.
func characters(f *os.File, name string) (file.Geometry, error) {
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return file.Geometry{}, &blockdev.Error{Kind: blockdev.ErrInvalid, Op: "open", File: name,
			Offset: blockdev.NoOffset, Text: "Could not refresh total sector count", Err: unix.ESPIPE}
	}
	return file.Geometry{Size: size, Fixed: true, Sector: 1}, nil
}

// wholeDisk looks for the hardware behind the device, which partitions, loop devices and
// volumes do not have themselves (Documentation/ABI/testing/sysfs-block).
func (linux) wholeDisk(path string) bool {
	var st unix.Stat_t
	if unix.Stat(path, &st) != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return false
	}
	dir := fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
	_, err := os.Stat(filepath.Join(dir, "device"))
	return err == nil
}

func (l linux) discard(f *os.File, off, n int64) error {
	return l.control(f, blkDiscard, byteRange(off, n))
}

func (linux) punchHole(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}

func (l linux) zeroRange(f *os.File, off, n int64) error {
	return l.control(f, blkZeroOut, byteRange(off, n))
}

// byteRange is the argument of BLKDISCARD and BLKZEROOUT.
func byteRange(off, n int64) []byte {
	b := binary.NativeEndian.AppendUint64(nil, uint64(off))
	return binary.NativeEndian.AppendUint64(b, uint64(n))
}

func (l linux) hasMedium(f *os.File) (present, changed bool, err error) {
	present, err = l.ready(f)
	if err != nil || !present {
		return false, false, err
	}
	// A drive that cannot tell has not changed its medium.
	is, err := l.value(f, cdromMediaChanged, cdCurrentSlot)
	return true, err == nil && is == 1, nil
}

// ready tells if there is a medium; in what is no CD drive there is none.
func (l linux) ready(f *os.File) (bool, error) {
	status, err := l.value(f, cdromDriveStatus, cdCurrentSlot)
	if errors.Is(err, unix.ENOTTY) {
		return false, nil
	}
	return status == cdDiscOK, err
}

func (l linux) eject(f *os.File, open bool) error {
	request := uint32(cdromCloseTray)
	if open {
		request = cdromEject
	}
	_, err := l.value(f, request, 0)
	return err
}

func (l linux) lock(f *os.File, on bool) error {
	v := 0
	if on {
		v = 1
	}
	_, err := l.value(f, cdromLockDoor, v)
	return err
}

// linuxCalls are the real system calls.
type linuxCalls struct{ kinds }

func (linuxCalls) open(path string, flags int) (*os.File, error) { return os.OpenFile(path, flags, 0) }

func (linuxCalls) control(f *os.File, request uint32, arg []byte) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(unsafe.Pointer(unsafe.SliceData(arg))))
	if errno != 0 {
		return errno
	}
	return nil
}

func (linuxCalls) value(f *os.File, request uint32, v int) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(v))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}
