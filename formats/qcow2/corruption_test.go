package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// openTold opens an image and notes what the user is told.
func openTold(t *testing.T, m *blocktest.Memory, mode blockdev.Mode) (*Image, *strings.Builder) {
	t.Helper()
	var told strings.Builder
	im, err := Open(context.Background(), blockdev.OpenRequest{
		Filename: "test.qcow2", File: m, Mode: mode, Notify: func(text string) { told.WriteString(text) },
	})
	if err != nil {
		t.Fatal(err)
	}
	return im, &told
}

// TestReadingABadEntryMarksTheImage if it is writable; what was written before stays. The
// user is told once, in QEMU's words.
func TestReadingABadEntryMarksTheImage(t *testing.T) {
	m := create(t, 1<<20, nil)
	im := open(t, m, writable)
	if _, err := im.WriteAt(pattern(1, 128<<10), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	var e [8]byte
	binary.BigEndian.PutUint64(e[:], 0x52a00|entryCopied)
	if _, err := m.WriteAt(e[:], int64(im.l1.entries[0]&entryOffset)); err != nil {
		t.Fatal(err)
	}
	const what = "Cluster allocation offset 0x52a00 unaligned (L2 offset: 0x40000, L2 index: 0)"
	readTwice := func(im *Image) {
		t.Helper()
		for range 2 {
			if _, err := im.ReadAt(make([]byte, 1), 0); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("reading the bad entry: %v", err)
			}
		}
	}

	im, told := openTold(t, m, blockdev.Mode{})
	readTwice(im)
	if want := "qcow2: Image is corrupt: " + what + "; further non-fatal corruption events will be suppressed\n"; told.String() != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if im.hdr.incompatible&incompatCorrupt != 0 {
		t.Error("a read-only image was marked")
	}

	im, told = openTold(t, m, writable)
	if _, err := im.WriteAt(pattern(2, 1000), 512<<10); err != nil {
		t.Fatal(err)
	}
	readTwice(im)
	if want := "qcow2: Marking image as corrupt: " + what + "; further corruption events will be suppressed\n"; told.String() != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if im.Writable() {
		t.Error("still writable")
	}
	if err := im.Close(); err != nil {
		t.Error(err)
	}
	im = open(t, m, blockdev.Mode{})
	if im.hdr.incompatible&incompatCorrupt == 0 {
		t.Error("not marked")
	}
	got := make([]byte, 1000)
	if _, err := im.ReadAt(got, 512<<10); err != nil || !bytes.Equal(got, pattern(2, 1000)) {
		t.Errorf("what was written before is lost: %v", err)
	}
}

// TestTheUserHearsOfTheRepairOfADirtyImage as iotest 061 expects it.
func TestTheUserHearsOfTheRepairOfADirtyImage(t *testing.T) {
	m := create(t, 1<<20, blockdev.Options{"lazy_refcounts": "on"})
	im := open(t, m, writable)
	if _, err := im.WriteAt(pattern(1, 100<<10), 0); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	m = m.Clone() // what a crash leaves
	im, told := openTold(t, m, writable)
	const want = "ERROR cluster 5 refcount=0 reference=1\nERROR cluster 6 refcount=0 reference=1\n" +
		"Rebuilding refcount structure\nRepairing cluster 1 refcount=1 reference=0\nRepairing cluster 2 refcount=1 reference=0\n"
	if told.String() != want {
		t.Errorf("told %q, want %q", told, want)
	}
	if im.hdr.incompatible&incompatDirty != 0 {
		t.Error("still dirty")
	}
	got := make([]byte, 100<<10)
	if _, err := im.ReadAt(got, 0); err != nil || !bytes.Equal(got, pattern(1, 100<<10)) {
		t.Errorf("what was flushed is lost: %v", err)
	}
}

// TestWritingOverABadBitmapMarksTheImage: also where it is not the first cluster's that is bad.
func TestWritingOverABadBitmapMarksTheImage(t *testing.T) {
	m := create(t, 1<<20, blockdev.Options{"extended_l2": "on"})
	im := open(t, m, writable)
	if _, err := im.WriteAt(pattern(1, 128<<10), 32<<10); err != nil {
		t.Fatal(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	p := patched{m.Bytes()}
	p.set32(p.l2()+24, 1) // subcluster 0 of cluster 1 reads as zeroes, and is allocated
	im, told := openTold(t, p.file(), writable)
	if _, err := im.WriteAt(make([]byte, 192<<10), 0); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("writing: %v", err)
	}
	const want = "qcow2: Marking image as corrupt: Invalid cluster entry found (L2 offset: 0x40000, L2 index: 0x1); " +
		"further corruption events will be suppressed\n"
	if told.String() != want {
		t.Errorf("told %q, want %q", told, want)
	}
}

// TestTheHeaderIsNeverAllocated although its refcount is 0, and whatever the overlap checks
// are.
func TestTheHeaderIsNeverAllocated(t *testing.T) {
	for _, c := range []struct {
		name  string
		write func(im *Image) error
		what  string
	}{
		{"data", func(im *Image) error { return write1(im, 64<<10) }, "write on metadata (overlaps with qcow2_header)"},
		{"L2 table", func(im *Image) error { return write1(im, 512<<20) }, "allocation of L2 table at offset 0"},
		{"compressed", func(im *Image) error {
			return im.WriteCompressed(make([]byte, 64<<10), 64<<10)
		}, "allocation of compressed cluster at offset 0"},
	} {
		for _, checks := range []string{"none", "all"} {
			t.Run(c.name+" "+checks, func(t *testing.T) {
				m := create(t, 1<<30, nil)
				im := open(t, m, writable)
				if err := errors.Join(write1(im, 0), im.Close()); err != nil {
					t.Fatal(err)
				}
				p := patched{m.Bytes()}
				header := append([]byte(nil), p.data[:64<<10]...)
				p.set16(p.refBlock(), 0)
				file := p.file()
				im, err := openWith(file, blockdev.Options{"overlap-check": checks})
				if err != nil {
					t.Fatal(err)
				}
				err = c.write(im)
				want := "qcow2: Marking image as corrupt: Preventing invalid " + c.what + "; further corruption events will be suppressed"
				if !errors.Is(err, blockdev.ErrCorrupt) || blockdev.Message(err) != want {
					t.Errorf("%v, want %s", err, want)
				}
				if now := file.Bytes()[:64<<10]; !bytes.Equal(now[offIncompatible+8:], header[offIncompatible+8:]) {
					t.Error("the header was overwritten")
				}
			})
		}
	}
}

func write1(im *Image, off int64) error {
	_, err := im.WriteAt([]byte{1}, off)
	return err
}
