package hostdev

import (
	"encoding/binary"
	"fmt"
	"os"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/file"
)

// mac is macOS' system: devices as on Linux, and /dev/cdrom for the first CD drive with a
// medium. It is built everywhere, so that its names and requests can be tested everywhere.
type mac struct{ calls }

// Requests of ioctl (sys/disk.h).
const (
	dkGetBlockSize  = 0x40046418
	dkGetBlockCount = 0x40086419
	dkIsWritable    = 0x4004641d
	dkEject         = 0x20006415
)

// maxDisks is how many disks are looked at for a CD; a Mac numbers them from 0.
const maxDisks = 64

func (m mac) identify(name string) kind {
	if name == firstCD {
		return kindCD
	}
	mode, err := m.mode(name)
	if err != nil || mode&os.ModeDevice == 0 {
		return kindNone
	}
	return kindDisk
}

// resolve finds the CD: the first whole disk of optical sectors that cannot be written.
func (m mac) resolve(name string) (string, error) {
	if name != firstCD {
		return name, nil
	}
	for i := range maxDisks {
		path := fmt.Sprintf("/dev/disk%d", i)
		if m.isCD(path) {
			return path, nil
		}
	}
	return "", errNoCD
}

func (m mac) isCD(path string) bool {
	f, err := m.calls.open(path, os.O_RDONLY)
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // nothing was written
	var size, writable [4]byte
	if m.control(f, dkGetBlockSize, size[:]) != nil || m.control(f, dkIsWritable, writable[:]) != nil {
		return false
	}
	return binary.LittleEndian.Uint32(size[:]) == opticalSector && binary.LittleEndian.Uint32(writable[:]) == 0
}

func (m mac) open(path string, flags int, _ string) (*os.File, error) {
	return m.calls.open(path, flags)
}

// geometry asks for blocks. Raw devices, /dev/rdisk0, take nothing but whole ones.
func (m mac) geometry(f *os.File, name, _ string) (file.Geometry, error) {
	g := file.Geometry{Fixed: true, Aligned: true}
	var size [4]byte
	var count [8]byte
	if err := m.control(f, dkGetBlockSize, size[:]); err != nil {
		return g, err
	}
	if err := m.control(f, dkGetBlockCount, count[:]); err != nil {
		return g, err
	}
	g.Sector = int64(binary.LittleEndian.Uint32(size[:]))
	blocks := binary.LittleEndian.Uint64(count[:])
	if g.Sector > 0 && blocks > uint64(1<<62/g.Sector) {
		blocks = 1 << 62 / uint64(g.Sector)
	}
	g.Size = int64(blocks) * g.Sector
	return g, checkGeometry(g, name)
}

// wholeDisk is /dev/disk0, but not its slice /dev/disk0s1.
func (mac) wholeDisk(path string) bool {
	var n int
	var rest string
	for _, form := range []string{"/dev/disk%d%s", "/dev/rdisk%d%s"} {
		if got, _ := fmt.Sscanf(path, form, &n, &rest); got == 1 {
			return true
		}
	}
	return false
}

func (mac) discard(*os.File, int64, int64) error   { return blockdev.ErrNotSupported }
func (mac) punchHole(*os.File, int64, int64) error { return blockdev.ErrNotSupported }
func (mac) zeroRange(*os.File, int64, int64) error { return blockdev.ErrNotSupported }

// hasMedium: a disk is there as long as its medium is.
func (m mac) hasMedium(f *os.File) (present, changed bool, err error) {
	var size [4]byte
	return m.control(f, dkGetBlockSize, size[:]) == nil, false, nil
}

// eject puts the medium out; a tray that is out closes by hand.
func (m mac) eject(f *os.File, open bool) error {
	if !open {
		return nil
	}
	_, err := m.value(f, dkEject, 0)
	return err
}

// lock does nothing: the system keeps a medium that is in use.
func (mac) lock(*os.File, bool) error { return nil }
