//go:build linux

package hostdev

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/formats/qcow2"
	_ "github.com/qmon/qmon/formats/raw"
	"github.com/qmon/qmon/internal/peer"
)

// openRaw opens a device as a raw disk.
func openRaw(t *testing.T, name string, m blockdev.Mode) *blockdev.Vertex {
	t.Helper()
	g := &blockdev.Graph{}
	v, err := g.Open(t.Context(), name, blockdev.OpenOptions{Driver: "raw", Mode: m})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// TestDeviceAgainstModel does random requests to a device whose size is no multiple of
// 4096, with and without O_DIRECT, and to a slice of bytes.
func TestDeviceAgainstModel(t *testing.T) {
	const size = 96<<10 + 512
	device, file := peer.LoopDevice(t, size)
	for _, direct := range []bool{false, true} {
		v := openRaw(t, device, blockdev.Mode{Writable: true, Unmap: true, Cache: blockdev.CacheMode{Direct: direct}})
		if v.File().Driver.Name != diskDriver || v.Node.Size() != size {
			t.Fatalf("%s is %d bytes of %s", device, v.Node.Size(), v.File().Driver.Name)
		}
		model := make([]byte, size)
		if err := blockdev.WriteZeroes(v.Node, 0, size, 0); err != nil {
			t.Fatal(err)
		}
		rapid.Check(t, func(rt *rapid.T) {
			rt.Repeat(map[string]func(*rapid.T){
				"write": func(rt *rapid.T) {
					off := rapid.Int64Range(0, size).Draw(rt, "off")
					p := rapid.SliceOfN(rapid.Byte(), 0, 9000).Draw(rt, "p")
					p = p[:min(int64(len(p)), size-off)]
					if _, err := v.Node.WriteAt(p, off); err != nil {
						rt.Fatal(err)
					}
					copy(model[off:], p)
				},
				"zero": func(rt *rapid.T) {
					off := rapid.Int64Range(0, size).Draw(rt, "off")
					n := rapid.Int64Range(0, size-off).Draw(rt, "n")
					flags := rapid.SampledFrom([]blockdev.ZeroFlags{0, blockdev.ZeroMayUnmap}).Draw(rt, "flags")
					if err := blockdev.WriteZeroes(v.Node, off, n, flags); err != nil {
						rt.Fatal(err)
					}
					clear(model[off : off+n])
				},
				"": func(rt *rapid.T) {
					got := make([]byte, size)
					if _, err := v.Node.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
						rt.Fatalf("the device does not hold what was written: %v", err)
					}
				},
			})
		})
		if err := v.Unref(); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(file); err != nil || !bytes.Equal(got, model) {
			t.Errorf("what was written is not on the device: %v", err)
		}
	}
}

// TestDiscardGivesStorageBack: the file below a loop device gets a hole.
func TestDiscardGivesStorageBack(t *testing.T) {
	device, file := peer.LoopDevice(t, 4<<20)
	v := openRaw(t, device, blockdev.Mode{Writable: true, Unmap: true})
	if _, err := v.Node.WriteAt(bytes.Repeat([]byte{1}, 4<<20), 0); err != nil {
		t.Fatal(err)
	}
	if err := v.Node.Flush(); err != nil {
		t.Fatal(err)
	}
	before := blocks(t, file)
	if err := blockdev.Discard(v.Node, 1<<20, 2<<20); err != nil {
		t.Fatal(err)
	}
	if after := blocks(t, file); after >= before {
		t.Errorf("%d blocks before, %d after", before, after)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

func blocks(t *testing.T, file string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks
}

// TestImageOnADevice: a qcow2 image lives on a device, QEMU agrees; what does not fit is
// refused before anything changes.
func TestImageOnADevice(t *testing.T) {
	peer.Need(t, "qemu-img")
	device, _ := peer.LoopDevice(t, 8<<20)
	g := &blockdev.Graph{}
	if err := g.Create(t.Context(), "qcow2", device, 100<<20, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	v, err := g.Open(t.Context(), device, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt(bytes.Repeat([]byte{7}, 7<<20), 50<<20); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt(bytes.Repeat([]byte{8}, 7<<20), 0); !errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("a full device: %v", err)
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "qemu-img", "check", device)
	err = g.Create(t.Context(), "raw", device, 9<<20, nil, blockdev.Reference{})
	if err == nil || blockdev.Message(err) != "Cannot grow device files" {
		t.Errorf("a disk larger than the device: %v", err)
	}
	peer.Run(t, "qemu-img", "check", "-f", "qcow2", device)
	if err := g.Create(t.Context(), "raw", device, 4<<20, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	if out := peer.Run(t, "qemu-img", "info", device); !strings.Contains(out, "file format: raw") {
		t.Errorf("after a raw disk was made: %s", out)
	}
}

func TestSizeOfADeviceStays(t *testing.T) {
	device, file := peer.LoopDevice(t, 1<<20)
	v := openRaw(t, device, blockdev.Mode{Writable: true})
	for _, c := range []struct {
		size    int64
		exact   bool
		message string
	}{
		{1 << 20, true, ""},
		{1 << 19, true, "Cannot resize device files"},
		{1 << 19, false, ""},
		{2 << 20, false, "Cannot grow device files"},
	} {
		err := blockdev.Resize(v.Node, c.size, blockdev.ResizeOptions{Shrink: true, Exact: c.exact})
		if (err == nil) != (c.message == "") || err != nil && blockdev.Message(err) != c.message {
			t.Errorf("%+v: %v", c, err)
		}
	}
	if err := os.Truncate(file, 2<<20); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "losetup", "--set-capacity", device)
	if err := blockdev.Resize(v.Node, 2<<20, blockdev.ResizeOptions{Exact: true}); err != nil || v.Node.Size() != 2<<20 {
		t.Errorf("a device that has grown: %d bytes, %v", v.Node.Size(), err)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

func TestWriteProtectedDevice(t *testing.T) {
	device, _ := peer.LoopDevice(t, 1<<20, "--read-only")
	g := &blockdev.Graph{}
	_, err := g.Open(t.Context(), device, blockdev.OpenOptions{Driver: "raw", Mode: blockdev.Mode{Writable: true}})
	if err == nil || blockdev.Message(err) != "The device is not writable: Permission denied" {
		t.Errorf("opened for writing: %v", err)
	}
	v := openRaw(t, device, blockdev.Mode{Writable: true, AutoReadOnly: true})
	if v.Mode().Writable {
		t.Error("writable all the same")
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

// TestNamesOfDrives: a device is no file, and a file no device.
func TestNamesOfDrives(t *testing.T) {
	device, file := peer.LoopDevice(t, 1<<20)
	g := &blockdev.Graph{}
	for _, c := range []struct{ name, driver, message string }{
		{device, "", ""},
		{"host_device:" + device, "", ""},
		{"/dev/null", "", ""},
		{"file:" + device, "", "'file' driver requires '" + device + "' to be a regular file"},
		{device, "file", "'file' driver requires '" + device + "' to be a regular file"},
		{file, diskDriver, "'host_device' driver requires '" + file + "' to be either a character or block device"},
		{"/dev/no-such-drive", "", "Could not open '/dev/no-such-drive': No such file or directory"},
	} {
		v, err := g.Open(t.Context(), c.name, blockdev.OpenOptions{Driver: c.driver})
		switch {
		case err == nil && c.message == "":
			if err := v.Unref(); err != nil {
				t.Error(err)
			}
		case err == nil || blockdev.Message(err) != c.message:
			t.Errorf("%s by %q: %v, want %q", c.name, c.driver, err, c.message)
		}
	}
}

// fakeCD is a Linux host with a CD drive, and medium in it.
func fakeCD(t *testing.T, medium string) (*fakeDrive, system) {
	t.Helper()
	d := &fakeDrive{path: "/dev/fake", medium: medium, absent: unix.ENOMEDIUM}
	d.answers = map[uint32][]byte{unix.BLKSSZGET: le32(2048)}
	d.values = func(request uint32, _ int) (int, error) {
		switch {
		case request == cdromDriveStatus && d.medium != "":
			return cdDiscOK, nil
		case request == cdromEject:
			d.medium = ""
		}
		return 0, nil
	}
	d.load(t, medium)
	return d, linux{d}
}

// load puts another medium in.
func (d *fakeDrive) load(t *testing.T, medium string) {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.medium = medium
	if medium == "" {
		d.answers[unix.BLKGETSIZE64] = le64(0)
		return
	}
	info, err := os.Stat(medium)
	if err != nil {
		t.Fatal(err)
	}
	d.answers[unix.BLKGETSIZE64] = le64(uint64(info.Size()))
}

func medium(t *testing.T, fill byte, size int) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "medium")
	if err := os.WriteFile(name, bytes.Repeat([]byte{fill}, size), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestMediumComesAndGoes: what is in the drive is read, with its own size, whoever puts it
// in, and the watcher hears of it.
func TestMediumComesAndGoes(t *testing.T) {
	first, second := medium(t, 1, 2048), medium(t, 2, 8192)
	d, s := fakeCD(t, first)
	if got := s.identify("/dev/fake"); got != kindCD {
		t.Errorf("the drive is of kind %d", got)
	}
	cd, err := openCD(s, blockdev.OpenRequest{Options: blockdev.Values{"filename": "/dev/fake"}})
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan bool)
	cd.Watch(func(present bool) { heard <- present })
	holds := func(fill byte, size int64) {
		t.Helper()
		p := make([]byte, 2048)
		if _, err := cd.ReadAt(p, size-2048); err != nil || p[0] != fill || cd.Size() != size {
			t.Errorf("%d bytes of %d, %v; want %d of %d", cd.Size(), p[0], err, size, fill)
		}
	}
	holds(1, 2048)
	d.load(t, "")
	if <-heard || cd.Present() || cd.Size() != 0 {
		t.Errorf("an empty drive has %d bytes", cd.Size())
	}
	if _, err := cd.ReadAt(make([]byte, 512), 0); !errors.Is(err, blockdev.ErrNoMedium) {
		t.Errorf("reading an empty drive: %v", err)
	}
	d.load(t, second)
	if !<-heard {
		t.Error("the medium did not come")
	}
	holds(2, 8192)
	if err := cd.Close(); err != nil {
		t.Error(err)
	}
}

// TestTrayOfTheHost: the guest's lock and eject reach the drive, and closing lets it go.
func TestTrayOfTheHost(t *testing.T) {
	d, s := fakeCD(t, medium(t, 1, 2048))
	cd, err := openCD(s, blockdev.OpenRequest{Options: blockdev.Values{"filename": "/dev/fake"}})
	if err != nil {
		t.Fatal(err)
	}
	d.taken()
	moves := func() []string {
		return slices.DeleteFunc(d.taken(), func(r string) bool {
			return !strings.HasPrefix(r, "0x5309") && !strings.HasPrefix(r, "0x5319") && !strings.HasPrefix(r, "0x5329")
		})
	}
	if err := errors.Join(cd.Lock(true), cd.Eject(true), cd.Eject(false), cd.Lock(true), cd.Close()); err != nil {
		t.Error(err)
	}
	want := []string{"0x5329 1", "0x5329 0", "0x5309 0", "0x5319 0", "0x5329 1", "0x5329 0"}
	if got := moves(); !slices.Equal(got, want) {
		t.Errorf("the drive was told %v, want %v", got, want)
	}
	d.values = func(uint32, int) (int, error) { return 0, syscall.EIO }
	if _, err := openCD(s, blockdev.OpenRequest{Options: blockdev.Values{"filename": "/dev/fake"}}); !errors.Is(err, syscall.EIO) {
		t.Errorf("a drive that does not answer: %v", err)
	}
}

func TestCharacterDevicesHaveNoBytes(t *testing.T) {
	v := openRaw(t, "/dev/null", blockdev.Mode{Writable: true})
	if _, err := v.File().Node.WriteAt([]byte{1}, 0); v.Node.Size() != 0 || !errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("%d bytes, %v", v.Node.Size(), err)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}
