package driveopt_test

import (
	"os"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	"github.com/qmon/qmon/blockdev/driveopt"
	_ "github.com/qmon/qmon/formats/all"
)

// pc has room for four IDE drives and a floppy.
var pc = driveopt.Board{Default: "ide", Interfaces: map[string]driveopt.Controller{
	"ide":    {Buses: 2, Units: 2},
	"floppy": {Buses: 1},
	"virtio": {Buses: 1},
}}

// build adds drives to an empty machine and returns them, or the first error.
func build(t *testing.T, lines ...string) (*blockdev.Drives, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, name := range []string{"a.img", "b.img", "c.img"} {
		if err := os.WriteFile(name, make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	drives := new(blockdev.Drives)
	t.Cleanup(func() { drives.Close() })
	b := &driveopt.Builder{Graph: new(blockdev.Graph), Gate: blockdev.FollowGate{}, Drives: drives, Board: pc, TempDir: t.TempDir()}
	for _, line := range lines {
		spec, err := driveopt.Parse(line)
		if err == nil {
			_, err = b.Add(t.Context(), spec)
		}
		if err != nil {
			return drives, err
		}
	}
	return drives, nil
}

func TestDrivesAreNamedByTheirPlace(t *testing.T) {
	drives, err := build(t,
		"file=a.img,format=raw",
		"file=b.img,format=raw,index=3",
		"media=cdrom",
		"if=floppy",
		"file=c.img,format=raw,if=none",
		"if=virtio",
		"if=none,id=mine",
	)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, d := range drives.All() {
		names = append(names, d.Name())
	}
	if got, want := strings.Join(names, " "), "ide0-hd0 ide1-hd1 ide0-cd1 floppy0 none0 virtio0 mine"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct{ lines, want string }{
		{"file=a.img,format=raw,index=0;file=b.img,format=raw,index=0", "drive with bus=0, unit=0 (index=0) exists"},
		{"index=3;unit=1,bus=1", "drive with bus=1, unit=1 (index=3) exists"},
		{"if=scsi", "machine type does not support if=scsi,bus=0,unit=0"},
		{"if=none,id=x;if=none,id=x", "Duplicate ID 'x' for drive"},
		{"format=raw", `A block device must be specified for "file"`},
		{"file=nosuch", "Could not open 'nosuch': No such file or directory"},
		{"file=a.img,copy-on-read=foo", "Parameter 'copy-on-read' expects 'on' or 'off'"},
		{"readonly=foo,snapshot=foo", "Parameter 'read-only' expects 'on' or 'off'"},
	} {
		if _, err := build(t, strings.Split(c.lines, ";")...); blockdev.Message(err) != c.want {
			t.Errorf("%s: %q, want %q", c.lines, blockdev.Message(err), c.want)
		}
	}
}

func TestSnapshotLeavesTheFileAlone(t *testing.T) {
	drives, err := build(t, "file=a.img,format=raw,snapshot=on,id=d")
	if err != nil {
		t.Fatal(err)
	}
	d, _ := drives.Get("d")
	if _, err := d.WriteAt([]byte("changed"), 0); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 7)
	if _, err := d.ReadAt(got, 0); err != nil || string(got) != "changed" {
		t.Errorf("the drive holds %q, %v", got, err)
	}
	if file, err := os.ReadFile("a.img"); err != nil || string(file[:7]) == "changed" {
		t.Errorf("the file was written to, or: %v", err)
	}
}
