//go:build linux

package file_test

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/peer"
)

func TestHolesAreFoundAndMade(t *testing.T) {
	v, _ := tempFile(t, make([]byte, 1<<20), blockdev.Mode{Unmap: true})
	if err := blockdev.Discard(v.Node, 256<<10, 512<<10); err != nil {
		t.Fatal(err)
	}
	s, err := blockdev.BlockStatus(v.Node, 300<<10, 1<<20-300<<10, nil)
	if err != nil {
		t.Fatal(err)
	}
	if s.Kind != blockdev.ExtentZero || s.Len != 468<<10 {
		t.Skipf("no holes on this file system: %+v", s)
	}
	size, err := v.Node.(blockdev.AllocatedSizer).AllocatedSize()
	if err != nil || size != 512<<10 {
		t.Errorf("%d bytes allocated, %v", size, err)
	}
}

// TestMapAgreesWithQEMU compares block status with qemu-img map, on a file with holes.
func TestMapAgreesWithQEMU(t *testing.T) {
	peer.Need(t, "qemu-img")
	v, name := tempFile(t, nil, blockdev.Mode{Unmap: true})
	for _, off := range []int64{0, 1 << 20, 1<<20 + 64<<10, 3<<20 - 4096} {
		if _, err := v.Node.WriteAt([]byte(strings.Repeat("x", 64<<10)), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := blockdev.Resize(v.Node, 8<<20, blockdev.ResizeOptions{}); err != nil {
		t.Fatal(err)
	}
	var want []struct {
		Start, Length int64
		Data          bool
	}
	out := peer.Run(t, "qemu-img", "map", "-U", "--output=json", "-f", "raw", name)
	if err := json.Unmarshal([]byte(out), &want); err != nil {
		t.Fatal(err)
	}
	for off, i := int64(0), 0; off < v.Node.Size(); i++ {
		s, err := blockdev.BlockStatus(v.Node, off, v.Node.Size()-off, nil)
		if err != nil {
			t.Fatal(err)
		}
		if i >= len(want) || want[i].Start != off || want[i].Length != s.Len || want[i].Data != (s.Kind == blockdev.ExtentData) {
			t.Fatalf("extent %d at %d is %+v, qemu-img says %+v", i, off, s, want)
		}
		off += s.Len
	}
}

// lockMessage is what both we and QEMU say about an image in use.
func lockMessage(how, name string) string {
	return "Failed to get " + how + " lock\nIs another process using the image [" + name + "]?"
}

func TestLocksWithinOneProcess(t *testing.T) {
	v, name := tempFile(t, []byte("data"), blockdev.Mode{})
	_, err := opened(t, name, blockdev.Mode{Writable: true})
	if !errors.Is(err, blockdev.ErrInUse) || blockdev.Message(err) != lockMessage(`"write"`, name) {
		t.Errorf("second writer: %v", err)
	}
	_, err = opened(t, name, blockdev.Mode{})
	if !errors.Is(err, blockdev.ErrInUse) || blockdev.Message(err) != lockMessage(`shared "write"`, name) {
		t.Errorf("reader beside a writer: %v", err)
	}
	shared, err := opened(t, name, blockdev.Mode{ForceShare: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := shared.Unref(); err != nil {
		t.Error(err)
	}
	if err := v.ReopenWritable(false); err != nil {
		t.Fatal(err)
	}
	reader, err := opened(t, name, blockdev.Mode{})
	if err != nil {
		t.Fatalf("two readers: %v", err)
	}
	if err := v.ReopenWritable(true); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("becoming a writer beside a reader: %v", err)
	}
	if err := reader.Unref(); err != nil {
		t.Error(err)
	}
	if err := v.ReopenWritable(true); err != nil {
		t.Errorf("the failed attempt left something behind: %v", err)
	}
}

// TestQEMURespectsOurLocks lets real QEMU open what we hold.
func TestQEMURespectsOurLocks(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io")
	name := filepath.Join(t.TempDir(), "a.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", name, "1M")
	for _, c := range []struct {
		writable bool
		args     []string
		want     string // "" for success
	}{
		{true, []string{"-c", "quit", name}, lockMessage(`"write"`, name)},
		{true, []string{"-r", "-c", "quit", name}, lockMessage(`shared "write"`, name)},
		{true, []string{"-r", "-U", "-c", "quit", name}, ""},
		{false, []string{"-c", "quit", name}, lockMessage(`"write"`, name)},
		{false, []string{"-r", "-c", "quit", name}, ""},
	} {
		v, err := opened(t, name, blockdev.Mode{Writable: c.writable})
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command("qemu-io", c.args...).CombinedOutput()
		if ok := c.want == ""; ok != (err == nil) || !strings.Contains(string(out), c.want) {
			t.Errorf("we write %v, qemu-io %q: %v, %s", c.writable, c.args, err, out)
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}

// TestWeRespectQEMUsLocks opens what real QEMU holds.
func TestWeRespectQEMUsLocks(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-io")
	name := filepath.Join(t.TempDir(), "a.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", name, "1M")
	for _, c := range []struct {
		args     []string
		writable bool
		want     string
	}{
		{nil, true, lockMessage(`"write"`, name)},
		{nil, false, lockMessage(`shared "write"`, name)},
		{[]string{"-r"}, true, lockMessage(`"write"`, name)},
		{[]string{"-r"}, false, ""},
	} {
		stop := holdWithQEMU(t, append(c.args, name)...)
		v, err := opened(t, name, blockdev.Mode{Writable: c.writable})
		if got := blockdev.Message(err); got != c.want {
			t.Errorf("qemu-io %q, we write %v: %q, not %q", c.args, c.writable, got, c.want)
		}
		if err == nil {
			err = v.Unref()
			if err != nil {
				t.Error(err)
			}
		}
		stop()
	}
}

// holdWithQEMU runs qemu-io until it has opened its image, and leaves it there.
func holdWithQEMU(t *testing.T, args ...string) (stop func()) {
	t.Helper()
	cmd := exec.Command("qemu-io", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAtLeast(out, make([]byte, 64), len("qemu-io> ")); err != nil {
		t.Fatal(err)
	}
	return func() {
		in.Close()
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	}
}

func TestCreateRespectsLocks(t *testing.T) {
	_, name := tempFile(t, []byte("precious"), blockdev.Mode{})
	var g blockdev.Graph
	if err := g.Create(t.Context(), "file", name, 0, nil, blockdev.Reference{}); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("creating over an image in use: %v", err)
	}
	if got, _ := os.ReadFile(name); string(got) != "precious" {
		t.Errorf("the image in use was emptied")
	}
}

// TestQEMUSystemAndWeLockEachOtherOut starts the emulator on a disk that we have, and
// opens a disk that the emulator has.
func TestQEMUSystemAndWeLockEachOtherOut(t *testing.T) {
	peer.Need(t, "qemu-img", "qemu-system-x86_64")
	name := filepath.Join(t.TempDir(), "a.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", name, "1M")
	args := []string{"-nodefaults", "-display", "none", "-S", "-monitor", "stdio", "-hda", name}
	v, err := opened(t, name, blockdev.Mode{Writable: true})
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("qemu-system-x86_64", args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), lockMessage(`"write"`, name)) {
		t.Errorf("qemu-system: %v, %s", err, out)
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}

	cmd := exec.Command("qemu-system-x86_64", args...)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAtLeast(stdout, make([]byte, 128), len("QEMU 7.2")); err != nil {
		t.Error(err)
	}
	if _, err := opened(t, name, blockdev.Mode{Writable: true}); blockdev.Message(err) != lockMessage(`"write"`, name) {
		t.Errorf("beside qemu-system: %v", err)
	}
	if _, err := io.WriteString(in, "quit\n"); err != nil {
		t.Error(err)
	}
	_, _ = io.Copy(io.Discard, stdout)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

func TestTheHostCopiesRanges(t *testing.T) {
	data := []byte(strings.Repeat("0123456789abcdef", 64<<10))
	src, _ := tempFile(t, data, blockdev.Mode{})
	dst, _ := tempFile(t, nil, blockdev.Mode{})
	copyRange := func(from, off, n int64) error {
		return dst.Node.(blockdev.RangeCopier).CopyRange(src.Node, from, off, n)
	}
	if err := copyRange(5, 7, 300<<10); errors.Is(err, blockdev.ErrNotSupported) {
		t.Skip("not on this file system")
	} else if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 300<<10)
	if _, err := dst.Node.ReadAt(got, 7); err != nil || string(got) != string(data[5:5+(300<<10)]) {
		t.Errorf("other bytes, %v", err)
	}
	if size := dst.Node.Size(); size != 7+(300<<10) {
		t.Errorf("the target has %d bytes", size)
	}
	if err := copyRange(1<<20-10, 0, 20); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("past the end of the source: %v", err)
	}
	if err := src.Node.(blockdev.RangeCopier).CopyRange(src.Node, 0, 100, 50); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("within a file: %v", err)
	}
}

// TestResizeThatFailsGivesBack: a file that cannot become as long as asked for with all its
// storage is as it was.
func TestResizeThatFailsGivesBack(t *testing.T) {
	var old unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
		t.Fatal(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	for _, mode := range []string{"falloc", "full"} {
		v, _ := tempFile(t, make([]byte, 4096), blockdev.Mode{})
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 3 << 20, Max: old.Max}); err != nil {
			t.Fatal(err)
		}
		err := blockdev.Resize(v.Node, 8<<20, blockdev.ResizeOptions{Preallocation: mode})
		if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &old); err != nil {
			t.Fatal(err)
		}
		if !errors.Is(err, blockdev.ErrNoSpace) || v.Node.Size() != 4096 {
			t.Errorf("%s: %d bytes, %v", mode, v.Node.Size(), err)
		}
	}
}
