package blockdev_test

import (
	"errors"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
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
