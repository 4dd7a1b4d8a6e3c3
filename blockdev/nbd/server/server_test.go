package server_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/blockdev/nbd/server"
	"github.com/qmon/qmon/internal/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// serve runs a server with one export of n called "exp" on a unix socket, whose path it
// returns.
func serve(t *testing.T, n blockdev.Node, o server.Options) (*server.Server, string) {
	t.Helper()
	path := filepath.Join(peer.SocketDir(t), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := server.New(o)
	e := server.Export{
		Name: "exp", Description: "for tests", Backend: server.FromNode(n), Size: n.Size(), AllocationDepth: true,
	}
	if err := s.Add(e); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- s.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := <-done; !errors.Is(err, server.ErrClosed) {
			t.Error(err)
		}
	})
	return s, path
}

func uri(path string) string { return "nbd+unix:///exp?socket=" + path }

// sparseDisk has data in every other MiB.
func sparseDisk(t *testing.T) *blocktest.Memory {
	t.Helper()
	n := emptyDisk(16 << 20)
	data := make([]byte, 1<<20)
	random := rand.NewChaCha8([32]byte{7})
	for off := int64(0); off < n.Size(); off += 2 << 20 {
		random.Read(data)
		if _, err := n.WriteAt(data, off); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// emptyDisk has size bytes, all of them a hole.
func emptyDisk(size int64) *blocktest.Memory {
	n := blocktest.NewMemory(nil)
	if err := n.Resize(size, blockdev.ResizeOptions{}); err != nil {
		panic(err)
	}
	return n
}

func TestPeersSeeWhatIsExported(t *testing.T) {
	peer.Need(t, "nbdinfo")
	_, path := serve(t, sparseDisk(t), server.Options{})
	out := peer.Run(t, "nbdinfo", uri(path))
	for _, want := range []string{
		"using structured packets", "description: for tests", "export-size: 16777216", "can_df: true",
		"can_multi_conn: true", "can_fast_zero: true", "can_trim: true", "is_read_only: false",
		"base:allocation", "qemu:allocation-depth", "block_size_maximum: 33554432",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("nbdinfo does not say %q:\n%s", want, out)
		}
	}
	if out := peer.Run(t, "nbdinfo", "--list", "nbd+unix://?socket="+path); !strings.Contains(out, `export="exp"`) {
		t.Errorf("the export is not listed:\n%s", out)
	}
	extents := strings.Fields(peer.Run(t, "nbdinfo", "--map", uri(path)))
	if want := strings.Fields("0 1048576 0 data 1048576 1048576 3 hole,zero"); !equal(extents[:len(want)], want) {
		t.Errorf("map begins with %q, not %q", extents[:len(want)], want)
	}
}

func equal(a, b []string) bool { return strings.Join(a, " ") == strings.Join(b, " ") }

func TestPeersCopyBothWays(t *testing.T) {
	peer.Need(t, "nbdcopy", "qemu-img")
	disk := sparseDisk(t)
	want := disk.Bytes()
	_, path := serve(t, disk, server.Options{})
	out := filepath.Join(t.TempDir(), "out")
	for _, copy := range [][]string{
		{"nbdcopy", uri(path), out},
		{"nbdcopy", "--connections=1", "--requests=64", "--request-size=4096", uri(path), out},
		{"nbdcopy", "--request-size=33554432", uri(path), out},
		{"qemu-img", "convert", "-f", "raw", "-O", "raw", uri(path), out},
	} {
		peer.Run(t, copy[0], copy[1:]...)
		if got, err := os.ReadFile(out); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%q read something else (%v)", copy, err)
		}
		os.Remove(out)
	}
	if err := os.WriteFile(out, want, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, copy := range [][]string{
		{"nbdcopy", "--flush", out, ""},
		{"nbdcopy", "--destination-is-zero", "--request-size=8388608", out, ""},
		{"qemu-img", "convert", "-n", "-f", "raw", "-O", "raw", out, ""},
	} {
		target := emptyDisk(16 << 20)
		_, path := serve(t, target, server.Options{})
		copy[len(copy)-1] = uri(path)
		peer.Run(t, copy[0], copy[1:]...)
		if !bytes.Equal(target.Bytes(), want) {
			t.Errorf("%q wrote something else", copy)
		}
	}
}

func TestQemuIORequests(t *testing.T) {
	peer.Need(t, "qemu-io")
	disk := emptyDisk(8 << 20)
	_, path := serve(t, disk, server.Options{})
	peer.Run(t, "qemu-io", "-f", "raw", "-c", "write -P 1 0 8M", "-c", "write -z 1M 1M", "-c", "write -z -u 2M 1M",
		"-c", "discard 4M 1M", "-c", "write -f -P 2 123 457", "-c", "flush", "-c", "read -P 0 1M 2M",
		"-c", "read -P 2 123 457", "-c", "read -P 1 3M 1M", uri(path))
	got := disk.Bytes()
	if got[123] != 2 || got[123+457] != 1 || got[2<<20] != 0 || got[5<<20] != 1 {
		t.Error("the disk does not hold what was written")
	}
	out, err := exec.Command("qemu-io", "-r", "-f", "raw", "-c", "read 0 1k", strings.Replace(uri(path), "exp", "other", 1)).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "server reported: export 'other' not present") {
		t.Errorf("an export that is not there: %v\n%s", err, out)
	}
}

// TestSharedByTwo shows that a client sees what another one wrote, and that the third
// waits where two are allowed.
func TestSharedByTwo(t *testing.T) {
	s, path := serve(t, emptyDisk(1<<20), server.Options{MaxConnections: 2})
	a, b := dial(t, path), dial(t, path)
	a.read(18)
	b.read(18)
	c := dial(t, path)
	if err := c.nc.SetReadDeadline(time.Now().Add(50 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	if _, err := c.nc.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the third client was greeted: %v", err)
	}
	a.nc.Close()
	if err := c.nc.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	c.read(18)
	if got := s.Exports(); len(got) != 1 || got[0].Name != "exp" {
		t.Errorf("exports are %v", got)
	}
}

// TestFio: fio writes and reads back what it wrote, many requests at a time.
func TestFio(t *testing.T) {
	peer.Need(t, "fio")
	if help := peer.Run(t, "fio", "--enghelp"); !strings.Contains(help, "nbd") {
		t.Skip("this fio has no NBD")
	}
	_, path := serve(t, emptyDisk(16<<20), server.Options{})
	t.Chdir(t.TempDir())
	peer.Run(t, "fio", "--name=x", "--ioengine=nbd", "--uri="+uri(path), "--rw=randwrite", "--bs=4k", "--size=16M",
		"--iodepth=32", "--verify=crc32c", "--do_verify=1", "--verify_fatal=1")
}
