package blockdev_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// driveOver makes a drive with n in it.
func driveOver(t *testing.T, n blockdev.Node, c blockdev.DriveConfig) *blockdev.Drive {
	t.Helper()
	var g blockdev.Graph
	v, err := g.Add(n, "", blockdev.Mode{Writable: true, Unmap: true})
	if err != nil {
		t.Fatal(err)
	}
	d := blockdev.NewDrive(c)
	if err := d.Insert(v); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestDriveCountsAndRefuses(t *testing.T) {
	d := driveOver(t, blocktest.NewMemory(make([]byte, 4096)), blockdev.DriveConfig{Name: "d"})
	if _, err := d.WriteAt(make([]byte, 1024), 512); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadAt(make([]byte, 512), 0); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadAt(make([]byte, 512), 4096); !errors.Is(err, blockdev.ErrRange) || blockdev.Message(err) != "Input/output error" {
		t.Errorf("read past the end: %v", err)
	}
	if _, err := d.WriteAt(make([]byte, 1), 4096); !errors.Is(err, blockdev.ErrRange) {
		t.Errorf("write past the end: %v", err)
	}
	if err := errors.Join(d.Flush(), d.Discard(0, 512), d.WriteZeroes(0, 512, 0)); err != nil {
		t.Error(err)
	}
	s := d.Stats()
	s.ReadTime, s.WriteTime, s.FlushTime, s.LastAccess = 0, 0, 0, time.Time{}
	want := blockdev.Stats{ReadBytes: 512, ReadOps: 1, FailedReads: 1, WriteBytes: 1536, WriteOps: 2, FailedWrites: 1,
		FlushOps: 1, DiscardBytes: 512, DiscardOps: 1, WriteHighest: 1536}
	if s != want {
		t.Errorf("%+v, not %+v", s, want)
	}
}

func TestDriveReadOnly(t *testing.T) {
	d := driveOver(t, blocktest.NewMemory(make([]byte, 512)), blockdev.DriveConfig{ReadOnly: true})
	_, werr := d.WriteAt([]byte{1}, 0)
	for _, err := range []error{werr, d.Discard(0, 1), d.WriteZeroes(0, 1, 0)} {
		if !errors.Is(err, blockdev.ErrReadOnly) {
			t.Error(err)
		}
	}
	if !d.ReadOnly() {
		t.Error("not read-only")
	}
}

func TestWriteThroughFlushesEachWrite(t *testing.T) {
	for _, through := range []bool{false, true} {
		n := blocktest.NewFaulty(blocktest.NewMemory(make([]byte, 512)))
		d := driveOver(t, n, blockdev.DriveConfig{Cache: blockdev.CacheMode{WriteThrough: through}})
		_, err := d.WriteAt([]byte{1}, 0)
		if err = errors.Join(err, d.WriteZeroes(0, 1, 0)); err != nil {
			t.Error(err)
		}
		if got, want := n.Count(blocktest.OpFlush), map[bool]int{true: 2}[through]; got != want {
			t.Errorf("write-through %v: %d flushes, not %d", through, got, want)
		}
	}
}

// events remembers what a device hears.
type events struct{ heard []string }

func (e *events) MediumChanged(loaded bool) {
	e.heard = append(e.heard, map[bool]string{true: "in", false: "out"}[loaded])
}
func (e *events) TrayMoved(open bool)       { e.heard = append(e.heard, fmt.Sprint("tray ", open)) }
func (e *events) EjectRequested(force bool) { e.heard = append(e.heard, "eject") }
func (e *events) Resized()                  { e.heard = append(e.heard, "resized") }

func TestMediaAndTray(t *testing.T) {
	var g blockdev.Graph
	medium := func() *blockdev.Vertex {
		v, err := g.Add(blocktest.NewMemory(make([]byte, 512)), "", blockdev.Mode{Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{Name: "cd", Removable: true, Tray: true})
	var heard events
	if err := d.Attach("/cd", &heard); err != nil {
		t.Fatal(err)
	}
	if err := d.Attach("/other", nil); !errors.Is(err, blockdev.ErrInUse) || d.Attached() != "/cd" {
		t.Errorf("attached twice: %v", err)
	}
	if _, err := d.ReadAt(make([]byte, 1), 0); !errors.Is(err, blockdev.ErrNoMedium) || blockdev.Message(err) != "No medium found" {
		t.Errorf("empty: %v", err)
	}
	if v, err := d.Remove(); v != nil || err != nil {
		t.Errorf("removing nothing: %v, %v", v, err)
	}
	if err := d.Insert(medium()); err != nil {
		t.Fatal(err)
	}
	extra := medium()
	if err := d.Insert(extra); !errors.Is(err, blockdev.ErrExists) {
		t.Errorf("a second medium: %v", err)
	}
	d.SetTray(true)
	if _, err := d.Size(); !errors.Is(err, blockdev.ErrNoMedium) || d.Medium() == nil {
		t.Errorf("with the tray open: %v", err)
	}
	d.SetTray(false)
	d.SetLocked(true)
	d.RequestEject(true)
	if err := d.Resize(1024); err != nil || !d.Locked() {
		t.Error(err)
	}
	if err := d.ReplaceMedium(extra); err != nil {
		t.Error(err)
	}
	v, err := d.Remove()
	if err != nil || v != extra {
		t.Errorf("%v, %v", v, err)
	}
	if err := v.Unref(); err != nil || len(g.Vertices()) != 0 {
		t.Errorf("%d vertices left, %v", len(g.Vertices()), err)
	}
	if want := []string{"in", "tray true", "tray false", "eject", "resized", "out"}; !slices.Equal(heard.heard, want) {
		t.Errorf("the device heard %v, not %v", heard.heard, want)
	}
	if d.Detach(); d.Attached() != "" || d.Locked() {
		t.Error("still attached or locked")
	}
}

// curious asks the drive at once about what it hears.
type curious struct {
	events
	drive *blockdev.Drive
}

func (c *curious) MediumChanged(loaded bool) {
	c.events.MediumChanged(loaded)
	if _, err := c.drive.ReadAt(make([]byte, 1), 0); loaded == (err != nil) {
		c.heard = append(c.heard, "wrongly")
	}
}

func TestDevicesMayUseTheDriveFromEvents(t *testing.T) {
	d := driveOver(t, blocktest.NewMemory(make([]byte, 512)), blockdev.DriveConfig{})
	c := &curious{drive: d}
	if err := d.Attach("/x", c); err != nil {
		t.Fatal(err)
	}
	v, err := d.Remove()
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Insert(v); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(c.heard, []string{"out", "in"}) {
		t.Errorf("the device heard %v", c.heard)
	}
}

// slow lets requests wait for a signal.
type slow struct {
	blocktest.Memory
	entered atomic.Int32
	release chan struct{}
}

func (s *slow) ReadAt(p []byte, off int64) (int, error) {
	s.entered.Add(1)
	<-s.release
	return s.Memory.ReadAt(p, off)
}

func TestDrainWaitsAndHoldsBack(t *testing.T) {
	n := &slow{release: make(chan struct{})}
	if _, err := n.WriteAt(make([]byte, 512), 0); err != nil {
		t.Fatal(err)
	}
	d := driveOver(t, n, blockdev.DriveConfig{})
	read := func() {
		if _, err := d.ReadAt(make([]byte, 1), 0); err != nil {
			t.Error(err)
		}
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(read)
	}
	for n.entered.Load() < 4 { // all run beside each other
		time.Sleep(time.Millisecond)
	}
	drained := make(chan func())
	go func() { drained <- d.Drain() }()
	select {
	case <-drained:
		t.Fatal("drained with requests in flight")
	case <-time.After(10 * time.Millisecond):
	}
	close(n.release)
	first := <-drained
	second := d.Drain()
	var late sync.WaitGroup
	late.Go(read)
	first()
	first() // once is enough
	time.Sleep(10 * time.Millisecond)
	if got := n.entered.Load(); got != 4 {
		t.Errorf("%d requests entered a drained drive", got-4)
	}
	second()
	wg.Wait()
	late.Wait()
}

func TestDetectZeroes(t *testing.T) {
	for detect, zeroed := range map[string]int{"off": 0, "on": 1, "unmap": 1} {
		var g blockdev.Graph
		n := blocktest.NewFaulty(blocktest.NewMemory(make([]byte, 8192)))
		file, err := g.Add(n, "f", blockdev.Mode{Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		v, err := g.OpenDescription(t.Context(), description("driver=raw,file=f,discard=unmap,detect-zeroes="+detect),
			blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
		if err != nil {
			t.Fatal(err)
		}
		d := blockdev.NewDrive(blockdev.DriveConfig{})
		if err := d.Insert(v); err != nil {
			t.Fatal(err)
		}
		if _, err := d.WriteAt(make([]byte, 4096), 0); err != nil {
			t.Error(err)
		}
		if _, err := d.WriteAt([]byte{0, 1}, 0); err != nil {
			t.Error(err)
		}
		if got := n.Count(blocktest.OpZero); got != zeroed || n.Count(blocktest.OpWrite) != 2-zeroed {
			t.Errorf("%s: %d writes were zeroes", detect, got)
		}
		closeDrive(t, d)
		if err := file.Unref(); err != nil {
			t.Error(err)
		}
	}
}

func TestDrivesAreNamedOnce(t *testing.T) {
	var s blockdev.Drives
	for _, name := range []string{"b", "a"} {
		if err := s.Add(blockdev.NewDrive(blockdev.DriveConfig{Name: name})); err != nil {
			t.Error(err)
		}
	}
	err := s.Add(blockdev.NewDrive(blockdev.DriveConfig{Name: "a"}))
	if blockdev.Message(err) != "Duplicate ID 'a' for drive" {
		t.Error(err)
	}
	if all := s.All(); len(all) != 2 || all[0].Name() != "b" {
		t.Errorf("%d drives, out of order", len(all))
	}
	if err := s.Remove("b"); err != nil {
		t.Error(err)
	}
	if err := s.Remove("b"); blockdev.Message(err) != "Device 'b' not found" {
		t.Error(err)
	}
}

// openDrive opens an image with its chain into a drive.
func openDrive(t *testing.T, g *blockdev.Graph, name string) *blockdev.Drive {
	t.Helper()
	v, err := g.Open(t.Context(), name, blockdev.OpenOptions{
		Mode: blockdev.Mode{Writable: true, Unmap: true}, Gate: blockdev.FollowGate{},
	})
	if err != nil {
		t.Fatal(err)
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{Name: name})
	if err := d.Insert(v); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeDrive(t, d) })
	return d
}

func closeDrive(t *testing.T, d *blockdev.Drive) {
	t.Helper()
	v, err := d.Remove()
	if err != nil {
		t.Error(err)
	}
	if v != nil {
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}

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

// TestGrowingDoesNotShowTheBackingFile: mid, shorter than what it is over, hides the rest
// of it also when commit makes it longer.
func TestGrowingDoesNotShowTheBackingFile(t *testing.T) {
	images(t)
	if err := os.WriteFile("r.img", bytes.Repeat([]byte{0xbb}, 4<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	var g blockdev.Graph
	d := openDrive(t, &g, "top.qcow2")
	if err := d.Resize(3 << 20); err != nil {
		t.Fatal(err)
	}
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

func TestOverlay(t *testing.T) {
	dir := images(t)
	tmp := filepath.Join(dir, "tmp")
	if err := os.Mkdir(tmp, 0o755); err != nil {
		t.Fatal(err)
	}
	var g blockdev.Graph
	d := openDrive(t, &g, "a.qcow2")
	before, err := os.ReadFile("a.qcow2")
	if err != nil {
		t.Fatal(err)
	}
	base := d.Medium()
	over, err := g.OpenOverlay(t.Context(), base.Ref(), tmp)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.ReplaceMedium(over); err != nil {
		t.Fatal(err)
	}
	if _, err := d.WriteAt([]byte("new"), 0); err != nil {
		t.Error(err)
	}
	prefix := `json:{"backing": {"driver": "qcow2", "file": {"driver": "file", "filename": "a.qcow2"}}, "driver": "qcow2", "file": {"driver": "file", "filename": "`
	if !strings.HasPrefix(over.Filename, prefix+tmp) || !over.Mode().Cache.NoFlush {
		t.Errorf("%s, mode %+v", over.Filename, over.Mode())
	}
	if left, _ := os.ReadDir(tmp); len(left) > 0 && runtime.GOOS != "windows" {
		t.Errorf("%s is left in the folder", left[0].Name())
	}
	if _, ok := over.Node.(blockdev.VMStateStore); !ok {
		t.Error("the overlay cannot hold VM state")
	}
	if after, err := os.ReadFile("a.qcow2"); err != nil || !bytes.Equal(before, after) {
		t.Errorf("the image below changed: %v", err)
	}
	if err := d.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	closeDrive(t, d)
	if left, _ := os.ReadDir(tmp); len(left) > 0 {
		t.Errorf("%s is left in the folder", left[0].Name())
	}
	again := openDrive(t, &g, "a.qcow2")
	got := make([]byte, 3)
	if _, err := again.ReadAt(got, 0); err != nil || string(got) != "new" {
		t.Errorf("%q, %v", got, err)
	}
}
