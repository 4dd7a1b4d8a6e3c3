package blockdev_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

func TestCommit(t *testing.T) {
	images(t)
	var g blockdev.Graph
	d := openDrive(t, &g, "top.qcow2")
	want := make([]byte, 1<<20)
	for off := 0; off < len(want); off += 200000 {
		copy(want[off:], bytes.Repeat([]byte{byte(off >> 16)}, 70000))
		if _, err := d.WriteAt(want[off:min(off+70000, len(want))], int64(off)); err != nil {
			t.Fatal(err)
		}
	}
	check := func(what string) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := d.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: the disk changed: %v", what, err)
		}
	}
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	check("committed")
	top, mid := d.Medium(), d.Medium().Backing()
	if s, err := blockdev.BlockStatus(top.Node, 0, 1<<20, nil); err != nil || s.Depth != 1 {
		t.Errorf("the top was not emptied: %+v, %v", s, err)
	}
	if mid.Mode().Writable || mid.File().Mode().Writable {
		t.Error("the backing file stayed writable")
	}
	base, err := os.ReadFile("r.img")
	if err != nil || !blockdev.IsZero(base) {
		t.Errorf("commit went further down than one image: %v", err)
	}
	if err := mid.Commit(t.Context(), blockdev.CommitOptions{}); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("committing a read-only image: %v", err)
	}
	check("again")
}

// TestCommitAgreesWithQEMU commits the same image with qemu-img and with us.
func TestCommitAgreesWithQEMU(t *testing.T) {
	peer.Need(t, "qemu-img")
	dir := images(t)
	var g blockdev.Graph
	d := openDrive(t, &g, "top.qcow2")
	for i, off := range []int64{0, 65536, 300001, 900000} {
		if _, err := d.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, 70001), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.WriteZeroes(66000, 200000, blockdev.ZeroMayUnmap); err != nil {
		t.Fatal(err)
	}
	closeDrive(t, d)
	theirs := t.TempDir()
	if err := os.CopyFS(theirs, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "qemu-img", "commit", "-q", filepath.Join(theirs, "top.qcow2"))

	d = openDrive(t, &g, "top.qcow2")
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeDrive(t, d)
	for _, name := range []string{"top.qcow2", "mid.qcow2"} {
		peer.Run(t, "qemu-img", "check", "-q", name)
		peer.Run(t, "qemu-img", "compare", "-q", name, filepath.Join(theirs, name))
	}
	var extents [2]string
	for i, name := range []string{"top.qcow2", filepath.Join(theirs, "top.qcow2")} {
		extents[i] = peer.Run(t, "qemu-img", "map", "--output=json", name)
	}
	if !strings.Contains(extents[0], `"depth": 1`) || strings.Contains(extents[0], `"depth": 0`) != strings.Contains(extents[1], `"depth": 0`) {
		t.Errorf("emptied top: ours %s, theirs %s", extents[0], extents[1])
	}
}

func TestCommitErrors(t *testing.T) {
	images(t)
	var g blockdev.Graph
	d := openDrive(t, &g, "r.img")
	if err := d.Commit(t.Context()); blockdev.Message(err) != "Operation not supported" || !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("raw: %v", err)
	}
	if err := os.WriteFile("rules", []byte("[inject-error]\nevent = \"empty_image_prepare\"\nonce = \"on\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	closeDrive(t, d)
	d = openDrive(t, &g, "blkdebug:rules:top.qcow2")
	if _, err := d.WriteAt([]byte("written"), 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context()); blockdev.Message(err) != "Failed to empty blkdebug:rules:top.qcow2: Input/output error" || !errors.Is(err, syscall.EIO) {
		t.Errorf("an overlay that cannot be emptied: %v", err)
	}
	empty := blockdev.NewDrive(blockdev.DriveConfig{Name: "e"})
	if err := empty.Commit(t.Context()); blockdev.Message(err) != "Device 'e' has no medium" {
		t.Errorf("no medium: %v", err)
	}
}

func TestCommitGrowsTheBackingFile(t *testing.T) {
	images(t)
	var g blockdev.Graph
	d := openDrive(t, &g, "mid.qcow2")
	if err := d.Resize(3 << 20); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("far"), 2<<20); err != nil {
		t.Fatal(err)
	}
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("r.img")
	if err != nil || len(got) != 3<<20 || string(got[2<<20:2<<20+3]) != "far" {
		t.Errorf("%d bytes, %v", len(got), err)
	}
}

// overLongBase is a drive of 3 MiB over a shorter image, which is over one of 4 MiB full of 0xbb.
func overLongBase(t *testing.T) *blockdev.Drive {
	t.Helper()
	images(t)
	if err := os.WriteFile("r.img", bytes.Repeat([]byte{0xbb}, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	var g blockdev.Graph
	d := openDrive(t, &g, "top.qcow2")
	if err := d.Resize(3 << 20); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestGrowingDoesNotShowTheBackingFile: mid, shorter than what it is over, hides the rest
// of it also when commit makes it longer.
func TestGrowingDoesNotShowTheBackingFile(t *testing.T) {
	d := overLongBase(t)
	before := make([]byte, 3<<20)
	if _, err := d.ReadAt(before, 0); err != nil || before[0] != 0xbb || before[2<<20] != 0 {
		t.Fatalf("before: %x, %x, %v", before[0], before[2<<20], err)
	}
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := make([]byte, 3<<20)
	if _, err := d.ReadAt(after, 0); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the disk changed: %v", err)
	}
}

// TestCommitPastAShortImage: what lies between the images hides the rest of the base where it
// ends, and the base has zeroes there after a commit into it.
func TestCommitPastAShortImage(t *testing.T) {
	d := overLongBase(t)
	top := d.Medium()
	want := make([]byte, 3<<20)
	if _, err := top.Node.ReadAt(want, 0); err != nil || want[0] != 0xbb || want[2<<20] != 0 {
		t.Fatalf("before: %x, %x, %v", want[0], want[2<<20], err)
	}
	base := top.Backing().Backing()
	if err := top.Commit(t.Context(), blockdev.CommitOptions{Base: base}); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, len(want))
	if _, err := base.Node.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("the base is not what the disk was: %v", err)
	}
}

// TestCommitThatFailsLosesNothing fails each request to the backing file in turn.
func TestCommitThatFailsLosesNothing(t *testing.T) {
	for nth := 1; ; nth++ {
		images(t)
		var g blockdev.Graph
		d := openDrive(t, &g, "a.qcow2")
		want := bytes.Repeat([]byte{7}, 300000)
		if _, err := d.WriteAt(want, 1000); err != nil {
			t.Fatal(err)
		}
		below := blocktest.NewFaulty(blocktest.NewMemory(make([]byte, 4096)))
		v, err := g.Add(below, "", blockdev.Mode{Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		if err := d.Medium().SetBacking(v); err != nil {
			t.Fatal(err)
		}
		below.Inject(blocktest.Fault{Op: blocktest.OpAny &^ blocktest.OpMap, Nth: nth})
		err = d.Commit(t.Context())
		below.Clear()
		got := make([]byte, len(want))
		if _, rerr := d.ReadAt(got, 1000); rerr != nil || !bytes.Equal(got, want) {
			t.Fatalf("request %d failed (%v), and data is lost: %v", nth, err, rerr)
		}
		if err == nil {
			if nth < 3 {
				t.Errorf("the fault in request %d was not noticed", nth)
			}
			return
		}
		if !errors.Is(err, syscall.EIO) {
			t.Errorf("request %d: %v", nth, err)
		}
	}
}
