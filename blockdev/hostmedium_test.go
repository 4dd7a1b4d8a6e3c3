package blockdev_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// hostCD is a CD drive of the host, and a whole disk besides.
type hostCD struct {
	*blocktest.Memory
	present bool
	changed func(bool)
	told    []string
}

var (
	_ blockdev.HostMedium = (*hostCD)(nil)
	_ blockdev.HostDisk   = (*hostCD)(nil)
)

func (h *hostCD) Present() bool            { return h.present }
func (h *hostCD) Watch(changed func(bool)) { h.changed = changed }
func (h *hostCD) WholeDisk() bool          { return true }

func (h *hostCD) Eject(open bool) error {
	h.told = append(h.told, map[bool]string{true: "open", false: "close"}[open])
	return nil
}

func (h *hostCD) Lock(on bool) error {
	h.told = append(h.told, map[bool]string{true: "lock", false: "unlock"}[on])
	return nil
}

// put makes the host's medium come or go.
func (h *hostCD) put(present bool) {
	h.present = present
	h.changed(present)
}

// TestHostMedium: what a guest does to the tray and the lock the host's drive does, too,
// and the device hears of the host's medium.
func TestHostMedium(t *testing.T) {
	cd := &hostCD{Memory: blocktest.NewMemory(make([]byte, 4096)), present: true}
	g := &blockdev.Graph{}
	v, err := g.Add(cd, "", blockdev.Mode{})
	if err != nil {
		t.Fatal(err)
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{Name: "cd0", Removable: true, Tray: true})
	heard := &events{}
	if err := errors.Join(d.Attach("cd", heard), d.Insert(v)); err != nil {
		t.Fatal(err)
	}
	before := d.Loaded()
	if err := errors.Join(d.LockHostMedium(true), d.LockHostMedium(false), d.MoveHostTray(true)); err != nil {
		t.Fatal(err)
	}
	d.SetTray(true)
	cd.put(false)
	if _, err := d.Loaded().Size(); !errors.Is(err, blockdev.ErrNoMedium) {
		t.Errorf("an empty drive of the host: %v", err)
	}
	cd.put(true)
	if d.TrayOpen() {
		t.Error("the tray is open though somebody has closed the host's")
	}
	if n, err := d.Loaded().Size(); n != 4096 || err != nil {
		t.Errorf("the medium has %d bytes, %v", n, err)
	}
	if _, err := before.Size(); !errors.Is(err, blockdev.ErrNoMedium) {
		t.Errorf("what was asked of the first medium: %v", err)
	}
	if want := []string{"lock", "unlock", "open"}; !slices.Equal(cd.told, want) {
		t.Errorf("the host's drive was told %v, want %v", cd.told, want)
	}
	if want := []string{"in", "tray true", "out", "tray false", "in"}; !slices.Equal(heard.heard, want) {
		t.Errorf("the device heard %v, want %v", heard.heard, want)
	}
	if _, err := d.Remove(); err != nil {
		t.Fatal(err)
	}
	heard.heard = nil
	cd.put(false)
	if len(heard.heard) != 0 || d.MoveHostTray(true) != nil || len(cd.told) != 3 {
		t.Errorf("a drive that let go heard %v, and told %v", heard.heard, cd.told)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

// TestHostMediumOfALoadedMachine: the host's drive is watched also if it has come into the
// machine's in another way than through the tray.
func TestHostMediumOfALoadedMachine(t *testing.T) {
	for what, put := range map[string]func(d *blockdev.Drive, v *blockdev.Vertex) error{
		"exchanged": func(d *blockdev.Drive, v *blockdev.Vertex) error {
			return d.Exchange(blockdev.Content{Medium: v}).Medium.Unref()
		},
		"replaced": (*blockdev.Drive).ReplaceMedium,
	} {
		d := driveOver(t, blocktest.NewMemory(nil), blockdev.DriveConfig{Name: "cd0", Removable: true, Tray: true})
		cd := &hostCD{Memory: blocktest.NewMemory(make([]byte, 4096)), present: true}
		g := &blockdev.Graph{}
		v, err := g.Add(cd, "", blockdev.Mode{})
		if err != nil {
			t.Fatal(err)
		}
		heard := &events{}
		if err := errors.Join(d.Attach("cd", heard), put(d, v)); err != nil {
			t.Fatal(err)
		}
		if cd.changed == nil {
			t.Errorf("%s: nobody watches the host's drive", what)
			continue
		}
		cd.put(false)
		if !slices.Equal(heard.heard, []string{"out"}) {
			t.Errorf("%s: the device heard %v", what, heard.heard)
		}
		closeDrive(t, d)
	}
}

// TestDiskWarning: a whole disk of the host is dangerous to write to, nothing else.
func TestDiskWarning(t *testing.T) {
	for _, c := range []struct {
		node     blockdev.Node
		writable bool
		warns    bool
	}{
		{&hostCD{Memory: blocktest.NewMemory(make([]byte, 512))}, true, true},
		{&hostCD{Memory: blocktest.NewMemory(make([]byte, 512))}, false, false},
		{blocktest.NewMemory(make([]byte, 512)), true, false},
	} {
		g := &blockdev.Graph{}
		v, err := g.Add(c.node, "", blockdev.Mode{Writable: c.writable})
		if err != nil {
			t.Fatal(err)
		}
		if got := blockdev.DiskWarning(v); strings.Contains(got, "whole disk") != c.warns {
			t.Errorf("writable %v: %q", c.writable, got)
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}
