package qcow2

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// TestABrokenSnapshotIsRefused: everything that needs the L1 table of the snapshot says what
// is wrong with it, and changes nothing.
func TestABrokenSnapshotIsRefused(t *testing.T) {
	overlap := blockdev.Values{"overlap-check.inactive-l2": true}
	for _, c := range []struct {
		name   string
		damage func(p patched)
		text   string
		number int
	}{
		{"offset", func(p patched) { p.set64(p.snapshots(), 0x400200) }, "Snapshot L1 table offset invalid", 22},
		{"size", func(p patched) { p.set32(p.snapshots()+snapL1Size, 1<<28) }, "Snapshot L1 table too large", 27},
	} {
		for _, use := range []struct {
			name    string
			options blockdev.Values
			do      func(im *Image) error
		}{
			{"apply", nil, func(im *Image) error { return im.ApplySnapshot("s") }},
			{"delete", nil, func(im *Image) error { return im.DeleteSnapshot("s") }},
			{"open", nil, func(im *Image) error { _, err := im.OpenSnapshot("s"); return err }},
			{"overwrite", overlap, func(im *Image) error { _, err := im.WriteAt(make([]byte, 4096), 0); return err }},
		} {
			t.Run(c.name+"/"+use.name, func(t *testing.T) {
				p := patched{damagedBase(t).Bytes()}
				c.damage(p)
				m := p.file()
				before := m.Bytes()
				im, err := Open(context.Background(), blockdev.OpenRequest{File: m, Mode: writable, Options: use.options})
				if err != nil {
					t.Fatal(err)
				}
				err = use.do(im)
				if number, _ := blockdev.SystemError(err); blockdev.Message(err) != c.text || number != c.number || !errors.Is(err, blockdev.ErrCorrupt) {
					t.Errorf("error %d, %v; want %d, %s", number, err, c.number, c.text)
				}
				_ = im.Close()
				if !bytes.Equal(m.Bytes(), before) {
					t.Error("the file has changed")
				}
			})
		}
	}
}
