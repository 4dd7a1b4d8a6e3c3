package hostdev

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/file"
)

// drivesCE is a Windows host with a disk C:, a CD drive E: and a network drive F:.
func drivesCE(letter byte) uint32 {
	switch letter | 0x20 {
	case 'c':
		return driveFixed
	case 'e':
		return driveCDROM
	case 'f':
		return 4
	}
	return 1
}

func TestWindowsNames(t *testing.T) {
	w := windows{driveType: drivesCE}
	for _, c := range []struct {
		name string
		kind kind
		path string
		disk bool
	}{
		{"c:", kindDisk, `\\.\c:`, false},
		{"E:", kindCD, `\\.\E:`, false},
		{`\\.\c:`, kindDisk, `\\.\c:`, false},
		{"//./e:", kindCD, `\\.\e:`, false},
		{`\\.\PhysicalDrive0`, kindDisk, `\\.\PhysicalDrive0`, true},
		{`\\.\physicaldrive12`, kindDisk, `\\.\physicaldrive12`, true},
		{`\\.\CdRom0`, kindCD, `\\.\CdRom0`, false},
		{"/dev/cdrom", kindCD, `\\.\e:`, false},
		{"f:", kindNone, `\\.\f:`, false},
		{"x:", kindNone, `\\.\x:`, false},
		{`c:\images\disk.qcow2`, kindNone, `c:\images\disk.qcow2`, false},
		{`\\.\pipe\name`, kindNone, `\\.\pipe\name`, false},
		{`\\server\share\disk`, kindNone, `\\server\share\disk`, false},
		{"disk", kindNone, "disk", false},
		{"", kindNone, "", false},
	} {
		path, err := w.resolve(c.name)
		if got := w.identify(c.name); got != c.kind || path != c.path || err != nil || w.wholeDisk(path) != c.disk {
			t.Errorf("%q: kind %d, path %q, whole %v, %v; want %+v", c.name, got, path, w.wholeDisk(path), err, c)
		}
	}
	none := windows{driveType: func(byte) uint32 { return 1 }}
	if _, err := none.resolve("/dev/cdrom"); !errors.Is(err, errNoCD) {
		t.Errorf("without a CD drive: %v", err)
	}
}

func TestWindowsRequests(t *testing.T) {
	d := &fakeDrive{path: `\\.\e:`, medium: "medium", absent: errNotReady, answers: map[uint32][]byte{
		ioctlDiskGetLength:       le64(700 << 20),
		ioctlDiskGetGeometry:     append(make([]byte, diskGeometrySector), le32(2048)...),
		ioctlStorageCheckVerify:  nil,
		ioctlStorageEject:        nil,
		ioctlStorageLoad:         nil,
		ioctlStorageMediaRemoval: nil,
		ioctlStorageManageData:   nil,
	}}
	w := windows{calls: d, driveType: drivesCE}
	g, err := w.geometry(nil, "e:", cdDriver)
	if want := (file.Geometry{Size: 700 << 20, Fixed: true, Sector: 2048, Aligned: true}); g != want || err != nil {
		t.Errorf("geometry %+v, %v, want %+v", g, err, want)
	}
	d.taken()
	if err := errors.Join(w.lock(nil, true), w.eject(nil, true), w.eject(nil, false), w.discard(nil, 4096, 8192)); err != nil {
		t.Error(err)
	}
	if got, want := d.taken(), []string{"0x2d4804", "0x2d4808", "0x2d480c", "0x2d9404"}; !slices.Equal(got, want) {
		t.Errorf("requests %v, want %v", got, want)
	}
	d.medium = ""
	if present, _, err := w.hasMedium(nil); present || err != nil {
		t.Errorf("an empty drive: %v, %v", present, err)
	}
	if g, err := w.geometry(nil, "e:", cdDriver); g.Size != 0 || err != nil {
		t.Errorf("an empty drive has %d bytes, %v", g.Size, err)
	}
	d.medium, d.answers[ioctlDiskGetGeometry] = "medium", make([]byte, diskGeometryBytes)
	if _, err := w.geometry(nil, "c:", diskDriver); !errors.Is(err, blockdev.ErrInvalid) {
		t.Errorf("sectors of no bytes: %v", err)
	}
}

// TestMacCD: the CD is the disk of optical sectors that cannot be written.
func TestMacCD(t *testing.T) {
	d := &fakeDrive{path: "/dev/disk3", answers: map[uint32][]byte{
		dkGetBlockSize: le32(2048), dkGetBlockCount: le64(1000), dkIsWritable: le32(0),
	}, values: func(request uint32, _ int) (int, error) {
		if request != dkEject {
			return 0, syscall.ENOTTY
		}
		return 0, nil
	}}
	m := mac{d}
	if path, err := m.resolve("/dev/cdrom"); path != "/dev/disk3" || err != nil || m.identify("/dev/cdrom") != kindCD {
		t.Errorf("the CD is %q, %v", path, err)
	}
	g, err := m.geometry(nil, "", "")
	if want := (file.Geometry{Size: 2048000, Fixed: true, Sector: 2048, Aligned: true}); g != want || err != nil {
		t.Errorf("geometry %+v, %v", g, err)
	}
	d.taken()
	if err := m.eject(nil, true); err != nil || !slices.Equal(d.taken(), []string{"0x20006415 0"}) {
		t.Errorf("eject: %v", err)
	}
	d.answers[dkGetBlockCount] = le64(1 << 63)
	if g, err := m.geometry(nil, "", ""); g.Size < 0 || err != nil {
		t.Errorf("too many blocks: %+v, %v", g, err)
	}
	d.answers[dkIsWritable] = le32(1)
	if path, err := m.resolve("/dev/cdrom"); !errors.Is(err, errNoCD) {
		t.Errorf("a disk that can be written is the CD: %q, %v", path, err)
	}
	for path, want := range map[string]bool{"/dev/disk0": true, "/dev/rdisk12": true, "/dev/disk0s1": false, "/dev/null": false} {
		if got := m.wholeDisk(path); got != want {
			t.Errorf("%s is a whole disk: %v", path, got)
		}
	}
}
