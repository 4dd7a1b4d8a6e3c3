package hostdev

import (
	"encoding/binary"
	"errors"
	"os"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/file"
)

// windows is Windows' system: drives by their letter, disks by number, and /dev/cdrom for
// the first CD drive. It is built everywhere, so that its names and requests can be tested
// everywhere.
type windows struct {
	calls
	// driveType is GetDriveType of the root of a drive.
	driveType func(letter byte) uint32
}

// Answers of GetDriveType.
const (
	driveRemovable = 2
	driveFixed     = 3
	driveCDROM     = 5
)

// Requests of DeviceIoControl (winioctl.h), made of device type, function, method and
// access.
const (
	ioctlDiskGetLength       = 0x7405c
	ioctlDiskGetGeometry     = 0x70000
	ioctlStorageCheckVerify  = 0x2d4800
	ioctlStorageMediaRemoval = 0x2d4804
	ioctlStorageEject        = 0x2d4808
	ioctlStorageLoad         = 0x2d480c
	ioctlStorageManageData   = 0x2d9404
	diskGeometryBytes        = 24
	diskGeometrySector       = 20 // where DISK_GEOMETRY has BytesPerSector
	manageDataHeader         = 28 // bytes of DEVICE_MANAGE_DATA_SET_ATTRIBUTES
	manageDataTrim           = 1  // DeviceDsmAction_Trim
	manageDataRange          = 16 // bytes of DEVICE_DATA_SET_RANGE
	manageDataRangeOffset    = 32 // where the range is, aligned to its 64-bit members
	physicalDrive            = "PhysicalDrive"
	firstCD                  = "/dev/cdrom"
)

// devicePath is the path of a drive's device, "" for a name that is none: "d:" and
// "//./d:" are \\.\d:.
func devicePath(name string) string {
	if len(name) == 2 && name[1] == ':' && isLetter(name[0]) {
		return `\\.\` + name
	}
	for _, prefix := range []string{`\\.\`, "//./"} {
		if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" {
			return `\\.\` + rest
		}
	}
	return ""
}

func isLetter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func (w windows) identify(name string) kind {
	if name == firstCD {
		return kindCD
	}
	path := devicePath(name)
	device := strings.TrimPrefix(path, `\\.\`)
	switch {
	case path == "":
		return kindNone
	case len(device) >= 2 && device[1] == ':' && isLetter(device[0]):
		switch w.driveType(device[0]) {
		case driveCDROM:
			return kindCD
		case driveRemovable, driveFixed:
			return kindDisk
		}
		return kindNone
	case len(device) > len(physicalDrive) && strings.EqualFold(device[:len(physicalDrive)], physicalDrive):
		return kindDisk
	case len(device) > len("cdrom") && strings.EqualFold(device[:len("cdrom")], "cdrom"):
		return kindCD
	}
	return kindNone
}

var errNoCD = errors.New("there is no CD drive")

func (w windows) resolve(name string) (string, error) {
	if name == firstCD {
		for letter := byte('c'); letter <= 'z'; letter++ {
			if w.driveType(letter) == driveCDROM {
				return `\\.\` + string(letter) + ":", nil
			}
		}
		return "", errNoCD
	}
	if path := devicePath(name); path != "" {
		return path, nil
	}
	return name, nil
}

func (w windows) open(path string, flags int, _ string) (*os.File, error) {
	return w.calls.open(path, flags)
}

// geometry asks for sectors, of which all requests to a device have to be multiples. A CD
// drive without a medium has none.
func (w windows) geometry(f *os.File, name, driver string) (file.Geometry, error) {
	g := file.Geometry{Fixed: true, Aligned: true, Sector: opticalSector}
	if driver == cdDriver {
		if present, _, err := w.hasMedium(f); err != nil || !present {
			return g, err
		}
	}
	var length [8]byte
	if err := w.control(f, ioctlDiskGetLength, length[:]); err != nil {
		return g, err
	}
	var geometry [diskGeometryBytes]byte
	if err := w.control(f, ioctlDiskGetGeometry, geometry[:]); err != nil {
		return g, err
	}
	g.Size = int64(binary.LittleEndian.Uint64(length[:]))
	g.Sector = int64(binary.LittleEndian.Uint32(geometry[diskGeometrySector:]))
	return g, checkGeometry(g, name)
}

// checkGeometry refuses what a device cannot mean.
func checkGeometry(g file.Geometry, name string) error {
	if g.Size < 0 || g.Sector <= 0 || g.Sector > 1<<20 || g.Sector&(g.Sector-1) != 0 {
		return blockdev.Errorf(blockdev.ErrInvalid, "open", name, "the device says it has %d bytes in sectors of %d", g.Size, g.Sector)
	}
	return nil
}

// wholeDisk is what the numbered disks are.
func (windows) wholeDisk(path string) bool {
	device := strings.TrimPrefix(path, `\\.\`)
	return len(device) > len(physicalDrive) && strings.EqualFold(device[:len(physicalDrive)], physicalDrive)
}

// discard tells the disk which range is not used any more. It is advice: a disk that
// does not want it is not asked again.
func (w windows) discard(f *os.File, off, n int64) error {
	b := make([]byte, manageDataRangeOffset+manageDataRange)
	le := binary.LittleEndian
	le.PutUint32(b, manageDataHeader)
	le.PutUint32(b[4:], manageDataTrim)
	le.PutUint32(b[20:], manageDataRangeOffset)
	le.PutUint32(b[24:], manageDataRange)
	le.PutUint64(b[manageDataRangeOffset:], uint64(off))
	le.PutUint64(b[manageDataRangeOffset+8:], uint64(n))
	if w.control(f, ioctlStorageManageData, b) != nil {
		return blockdev.ErrNotSupported
	}
	return nil
}

func (windows) punchHole(*os.File, int64, int64) error { return blockdev.ErrNotSupported }
func (windows) zeroRange(*os.File, int64, int64) error { return blockdev.ErrNotSupported }

// hasMedium asks for the medium, and how often it has changed.
func (w windows) hasMedium(f *os.File) (present, changed bool, err error) {
	var count [4]byte
	err = w.control(f, ioctlStorageCheckVerify, count[:])
	if errors.Is(err, errNotReady) {
		return false, false, nil
	}
	return err == nil, false, err
}

func (w windows) eject(f *os.File, open bool) error {
	if open {
		return w.control(f, ioctlStorageEject, nil)
	}
	return w.control(f, ioctlStorageLoad, nil)
}

func (w windows) lock(f *os.File, on bool) error {
	prevent := []byte{0} // PREVENT_MEDIA_REMOVAL
	if on {
		prevent[0] = 1
	}
	return w.control(f, ioctlStorageMediaRemoval, prevent)
}

// errNotReady is what a drive without a medium answers, ERROR_NOT_READY and its like.
var errNotReady = errors.New("no medium")
