package qcow2

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// bitmapState is "name:flags" of every bitmap.
func bitmapState(t *testing.T, im *Image) string {
	t.Helper()
	list, err := im.readBitmaps()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, b := range list {
		out = append(out, fmt.Sprintf("%s:%d", b.name, b.flags))
	}
	return strings.Join(out, " ")
}

// withBitmaps is an image of QEMU's with a bitmap that follows writes and one that does not.
func withBitmaps(t *testing.T) (*blocktest.Memory, string) {
	t.Helper()
	peer.Need(t, "qemu-img", "qemu-io")
	image := filepath.Join(t.TempDir(), "a.qcow2")
	peer.Run(t, "qemu-img", "create", "-q", "-f", "qcow2", image, "10M")
	peer.Run(t, "qemu-img", "bitmap", "--add", image, "on")
	peer.Run(t, "qemu-img", "bitmap", "--add", "--disable", "-g", "4k", image, "off")
	qemuIO(t, image, []string{"write -P 1 1M 1M"})
	return loadFile(t, image), image
}

func TestReadingLeavesBitmapsAlone(t *testing.T) {
	m := loadGolden(t, "bitmap.qcow2")
	before := m.Bytes()
	im := open(t, m, blockdev.Mode{})
	if !im.hdr.hasBitmaps() || len(im.bitmapFields()) == 0 {
		t.Error("no bitmaps")
	}
	checkClean(t, im)
	if !bytes.Equal(m.Bytes(), before) {
		t.Error("opening read-only changed the file")
	}
}

func TestRepairKeepsBitmaps(t *testing.T) {
	m, _ := withBitmaps(t)
	p := patched{m.Bytes()}
	p.set16(p.refBlock()+2*7, 0)
	m = p.file()
	if got := repair(t, m, "all"); got.Failed || got.Corruptions+got.Leaks > 0 {
		t.Fatalf("%+v", got)
	}
	if got := bitmapState(t, open(t, m, blockdev.Mode{})); got != "on:2 off:0" {
		t.Error(got)
	}
	peer.Run(t, "qemu-img", "check", save(t, m))
}

// TestInterruptedWriterLeavesBitmapsInUse: while the image is open the file says that all
// bitmaps are out of date, and QEMU sees it so.
func TestInterruptedWriterLeavesBitmapsInUse(t *testing.T) {
	m, _ := withBitmaps(t)
	im := open(t, m, writable)
	if got := bitmapState(t, im); got != "on:3 off:1" {
		t.Error(got)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	if got := bitmapState(t, open(t, m, blockdev.Mode{})); got != "on:2 off:0" {
		t.Error(got)
	}
	im = open(t, m, writable)
	if _, err := im.WriteAt(pattern(1, 1<<20), 5<<20); err != nil {
		t.Fatal(err)
	}
	if err := im.Flush(); err != nil {
		t.Fatal(err)
	}
	im = open(t, blocktest.NewMemory(m.Bytes()), writable) // as after a crash
	if _, err := im.DirtyBitmap("on"); !errors.Is(err, blockdev.ErrCorrupt) {
		t.Errorf("an inconsistent bitmap is used: %v", err)
	}
	if err := im.Resize(20<<20, blockdev.ResizeOptions{}); err == nil {
		t.Error("an inconsistent bitmap is resized")
	}
	if err := im.RemoveBitmap("on"); err != nil {
		t.Error(err)
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	image := save(t, m)
	peer.Run(t, "qemu-img", "check", image)
	peer.Run(t, "qemu-img", "bitmap", "--remove", image, "off")
	peer.Run(t, "qemu-img", "check", image)
}

// TestHostileBitmapsDoNoHarm: whatever the extension and the directory say, writing drops
// them, and nothing else of the image is changed.
func TestHostileBitmapsDoNoHarm(t *testing.T) {
	base := patched{loadGolden(t, "bitmap.qcow2").Bytes()}
	ext := int64(bytes.Index(base.data[:512], binary.BigEndian.AppendUint32(nil, extBitmaps))) + extHeaderSize
	dir := base.u64(ext + bitmapsDirectoryStart)
	for name, damage := range map[string]func(p patched){
		"count":              func(p patched) { p.set32(ext+bitmapsCount, 0xffffffff) },
		"directory size":     func(p patched) { p.set64(ext+bitmapsDirectorySize, 1<<40) },
		"directory size 0":   func(p patched) { p.set64(ext+bitmapsDirectorySize, 0) },
		"directory size < 0": func(p patched) { p.set64(ext+bitmapsDirectorySize, 1<<63) },
		"directory offset":   func(p patched) { p.set64(ext+bitmapsDirectoryStart, 1<<55) },
		"directory unaligned": func(p patched) {
			p.set64(ext+bitmapsDirectoryStart, uint64(dir)+8)
		},
		"directory is header":      func(p patched) { p.set64(ext+bitmapsDirectoryStart, 0) },
		"directory is L1":          func(p patched) { p.set64(ext+bitmapsDirectoryStart, uint64(p.l1())) },
		"name size":                func(p patched) { p.set16(dir+bitmapNameSize, 0xffff) },
		"no name":                  func(p patched) { p.set16(dir+bitmapNameSize, 0) },
		"extra data size":          func(p patched) { p.set32(dir+bitmapExtraSize, 0xffffffff) },
		"granularity":              func(p patched) { p.data[dir+bitmapGranularity] = 255 },
		"extension is only 8 long": func(p patched) { p.set32(ext-4, 8) },
	} {
		t.Run(name, func(t *testing.T) {
			p := patched{bytes.Clone(base.data)}
			damage(p)
			m := p.file()
			ro := open(t, m, blockdev.Mode{})
			if ro.bitmapFields() != nil {
				t.Error("bitmaps are listed")
			}
			if res, err := ro.Check(context.Background(), blockdev.CheckOptions{}); err != nil || res.Corruptions == 0 {
				t.Errorf("%+v, %v", res, err)
			}
			im := open(t, m, writable)
			if im.hdr.autoclear != 0 {
				t.Errorf("autoclear features %#x", im.hdr.autoclear)
			}
			if err := im.Close(); err != nil {
				t.Fatal(err)
			}
			want := bytes.Clone(p.data)
			clear(want[offAutoclear : offAutoclear+8])
			if !bytes.Equal(m.Bytes(), want) {
				t.Error("more was changed than the autoclear features")
			}
		})
	}
}

// TestBitmapsThatAreLoadedAlreadyAreStored: what is written after a bitmap was looked at, and
// after the image was read-only for a while, is dirty in the file as well.
func TestBitmapsThatAreLoadedAlreadyAreStored(t *testing.T) {
	const granule = 64 << 10
	m := create(t, 1<<20, nil)
	im := open(t, m, writable)
	if err := im.AddBitmap(blockdev.BitmapInfo{Name: "on", Enabled: true}); err != nil {
		t.Fatal(err)
	}
	for i, between := range []func(im *Image) error{
		func(im *Image) error { return nil },
		func(im *Image) error { return errors.Join(im.ReopenWritable(false), im.ReopenWritable(true)) },
		func(im *Image) error { return im.AddBitmap(blockdev.BitmapInfo{Name: "another"}) },
	} {
		if err := between(im); err != nil {
			t.Fatal(err)
		}
		if _, err := im.WriteAt([]byte{1}, int64(i)*granule); err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			continue // the next opens it anew
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		im = open(t, m, writable)
		d, err := im.DirtyBitmap("on")
		if err != nil {
			t.Fatal(err)
		}
		if want := int64(i+1) * granule; d.Dirty() != want {
			t.Errorf("step %d: %d bytes are dirty, not %d", i, d.Dirty(), want)
		}
	}
}

// TestBitmapsAreInUseAfterAFailedStop: while somebody may write no bitmap is valid in the file.
func TestBitmapsAreInUseAfterAFailedStop(t *testing.T) {
	for fail := 1; ; fail++ {
		file := create(t, 1<<20, blockdev.Options{"lazy_refcounts": "on"})
		im := open(t, file, writable)
		if err := im.AddBitmap(blockdev.BitmapInfo{Name: "on", Enabled: true}); err != nil {
			t.Fatal(err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		f := blocktest.NewFaulty(file)
		im = open(t, f, writable)
		if _, err := im.WriteAt([]byte{1}, 0); err != nil {
			t.Fatal(err)
		}
		f.Inject(blocktest.Fault{Op: faultyOps, Nth: fail})
		before := f.Count(faultyOps)
		err := im.ReopenWritable(false)
		if f.Count(faultyOps)-before < fail {
			break
		}
		if err == nil {
			continue // only a hint failed
		}
		if _, err := im.WriteAt([]byte{1}, 1<<19); err != nil {
			t.Fatal(err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		d, err := open(t, file, blockdev.Mode{}).DirtyBitmap("on")
		if err != nil {
			t.Fatal(err)
		}
		if d.Dirty() != 2*64<<10 {
			t.Errorf("request %d failed: %d bytes are dirty", fail, d.Dirty())
		}
	}
}
