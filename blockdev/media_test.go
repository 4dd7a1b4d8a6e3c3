package blockdev_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

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
