package savevm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm"
)

// station is a machine with a disk, a CD-ROM drive and two floppy drives, in a folder with
// media for them.
type station struct {
	*toy
	dir              string
	disk, cd, fa, fb *blockdev.Drive
}

func newStation(t *testing.T) *station {
	t.Helper()
	s := &station{toy: newToy(t, toyConfig{}), dir: t.TempDir()}
	for name, letter := range map[string]string{"a.iso": "a", "b.iso": "b"} {
		if err := os.WriteFile(s.file(name), bytes.Repeat([]byte(letter), 64<<10), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"disk", "one", "two"} {
		if err := s.graph.Create(t.Context(), "qcow2", s.file(name), 1<<20, nil, blockdev.Reference{}); err != nil {
			t.Fatal(err)
		}
	}
	add := func(c blockdev.DriveConfig) *blockdev.Drive {
		d := blockdev.NewDrive(c)
		if err := s.Drives().Add(d); err != nil {
			t.Fatal(err)
		}
		return d
	}
	s.disk = add(blockdev.DriveConfig{Name: "disk"})
	s.cd = add(blockdev.DriveConfig{Name: "cd", Removable: true, Tray: true, ReadOnly: true})
	s.fa = add(blockdev.DriveConfig{Name: "fa", Removable: true})
	s.fb = add(blockdev.DriveConfig{Name: "fb", Removable: true})
	s.Drives().SetOpener(s.graph, blockdev.FollowGate{})
	s.put(s.disk, "disk", "qcow2")
	return s
}

func (s *station) file(name string) string { return filepath.Join(s.dir, name) }

// put changes what is in a drive; nothing if there is no name.
func (s *station) put(d *blockdev.Drive, name, format string) {
	s.t.Helper()
	old, err := d.Remove()
	if err != nil {
		s.t.Fatal(err)
	}
	if old != nil {
		if err := old.Unref(); err != nil {
			s.t.Fatal(err)
		}
	}
	if name == "" {
		return
	}
	v, err := s.graph.Open(s.t.Context(), s.file(name), blockdev.OpenOptions{
		Driver: format, Mode: blockdev.Mode{Writable: !d.Config().ReadOnly},
	})
	if err == nil {
		err = d.Insert(v)
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *station) save() {
	s.t.Helper()
	if _, err := savevm.Save(s.t.Context(), s.Machine, "x"); err != nil {
		s.t.Fatal(err)
	}
}

func (s *station) load() {
	s.t.Helper()
	if err := savevm.Load(s.t.Context(), s.Machine, "x"); err != nil {
		s.t.Fatal(err)
	}
}

// holds checks which medium is in a drive.
func (s *station) holds(d *blockdev.Drive, name string) {
	s.t.Helper()
	got := ""
	if v := d.Medium(); v != nil {
		got = filepath.Base(v.Filename)
	}
	if got != name {
		s.t.Errorf("%s holds %q, want %q", d.Name(), got, name)
	}
}

func TestMediaComeBack(t *testing.T) {
	s := newStation(t)
	s.put(s.cd, "a.iso", "raw")
	s.cd.SetLocked(true)
	s.put(s.fa, "one", "qcow2")
	s.put(s.fb, "two", "qcow2")
	for _, d := range []*blockdev.Drive{s.fa, s.fb} {
		if _, err := d.WriteAt([]byte(d.Name()), 0); err != nil {
			t.Fatal(err)
		}
	}
	s.save()
	s.put(s.cd, "b.iso", "raw")
	s.cd.SetLocked(false)
	s.cd.SetTray(true)
	// The floppies change places: each is open in the other's drive, and locked.
	s.put(s.fa, "", "")
	s.put(s.fb, "one", "qcow2")
	s.put(s.fa, "two", "qcow2")
	if _, err := s.fa.WriteAt([]byte("later"), 0); err != nil {
		t.Fatal(err)
	}
	s.load()
	s.holds(s.cd, "a.iso")
	s.holds(s.fa, "one")
	s.holds(s.fb, "two")
	if !s.cd.Locked() || s.cd.TrayOpen() {
		t.Errorf("locked %v, tray open %v", s.cd.Locked(), s.cd.TrayOpen())
	}
	for _, d := range []*blockdev.Drive{s.fa, s.fb} {
		got := make([]byte, 2)
		if _, err := d.ReadAt(got, 0); err != nil || string(got) != d.Name() {
			t.Errorf("%s: %q, %v", d.Name(), got, err)
		}
	}
	got := make([]byte, 1)
	if _, err := s.cd.ReadAt(got, 0); err != nil || got[0] != 'a' {
		t.Errorf("the CD: %q, %v", got, err)
	}
}

func TestEmptyDrivesComeBackEmpty(t *testing.T) {
	s := newStation(t)
	s.cd.SetTray(true)
	s.save()
	s.put(s.cd, "b.iso", "raw")
	s.cd.SetTray(false)
	s.load()
	s.holds(s.cd, "")
	if !s.cd.TrayOpen() {
		t.Error("the tray is closed")
	}
}

func TestMediaThatAreGoneAreNamed(t *testing.T) {
	for name, spoil := range map[string]func(path string) error{
		"removed": os.Remove,
		"other contents": func(path string) error {
			return os.WriteFile(path, bytes.Repeat([]byte("c"), 64<<10), 0o600)
		},
		"other size": func(path string) error { return os.Truncate(path, 32<<10) },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStation(t)
			s.put(s.cd, "a.iso", "raw")
			s.save()
			s.put(s.cd, "b.iso", "raw")
			if _, err := s.disk.WriteAt([]byte("kept"), 0); err != nil {
				t.Fatal(err)
			}
			if err := spoil(s.file("a.iso")); err != nil {
				t.Fatal(err)
			}
			err := savevm.Load(t.Context(), s.Machine, "x")
			if err == nil {
				t.Fatal("loaded")
			}
			for _, want := range []string{"device 'cd'", "a.iso"} {
				if !strings.Contains(blockdev.Message(err), want) {
					t.Errorf("%s: no %s in it", blockdev.Message(err), want)
				}
			}
			s.holds(s.cd, "b.iso")
			got := make([]byte, 4)
			if _, err := s.disk.ReadAt(got, 0); err != nil || string(got) != "kept" {
				t.Errorf("the disk holds %q, %v", got, err)
			}
		})
	}
}
