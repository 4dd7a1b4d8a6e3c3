package vhdx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"unicode/utf16"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// smallRatio is how many blocks a sector bitmap block of smallImage is for.
const smallRatio = 4096

// encodeLocator makes a parent locator.
func encodeLocator(pairs ...string) []byte {
	b := make([]byte, locatorHeaderSize+len(pairs)/2*locatorEntrySize)
	copy(b, locatorVHDX[:])
	le := binary.LittleEndian
	le.PutUint16(b[offLocatorCount:], uint16(len(pairs)/2))
	for i, s := range pairs {
		e := b[locatorHeaderSize+i/2*locatorEntrySize:]
		le.PutUint32(e[i%2*4:], uint32(len(b)))
		le.PutUint16(e[8+i%2*2:], uint16(2*len(s)))
		for _, c := range utf16.Encode([]rune(s)) {
			b = le.AppendUint16(b, c)
		}
	}
	return b
}

// differencingImage is over parent, which it knows as base.vhdx. Of its 4 blocks the first has
// the sectors 1 to 9 and 17, the second is whole, the third is zeroes, the fourth is not there.
func differencingImage(t testing.TB, parent []byte) damaged {
	t.Helper()
	h, err := readHeaders(blocktest.NewMemory(parent), "parent")
	if err != nil {
		t.Fatal(err)
	}
	d := smallImage(t)
	d[smallItems+4] |= paramHasParent
	locator := encodeLocator("parent_linkage", h.current.dataWrite.String(), "relative_path", `.\base.vhdx`,
		"absolute_win32_path", `C:\images\base.vhdx`)
	const at = metadataTableSize + 4*kib
	copy(d[smallMeta+at:], locator)
	item := d[smallMeta+offItemFirst+5*itemEntrySize:]
	copy(item, itemParentLocator[:])
	copy(item[16:], append(append(le32(at), le32(uint32(len(locator)))...), le32(itemIsRequired)...))
	copy(d[smallMeta+offItemCount:], le16(6))
	for i, e := range []uint64{4*mib | blockPartlyPresent, 5*mib | blockPresent, blockZero, blockNotPresent} {
		binary.LittleEndian.PutUint64(d[smallBAT+8*i:], e)
	}
	binary.LittleEndian.PutUint64(d[smallBAT+8*smallRatio:], 6*mib|blockPresent)
	d = append(d[:4*mib], bytes.Repeat([]byte{'p'}, mib)...)
	d = append(d, bytes.Repeat([]byte{'w'}, mib)...)
	d = append(d, 0xfe, 0x03, 0x02)
	return append(d, make([]byte, mib-3)...)
}

// parentImage is full of data.
func parentImage(t testing.TB) []byte {
	t.Helper()
	file := blocktest.NewMemory(smallImage(t))
	im := open(t, file, writable)
	write(t, im, 0, bytes.Repeat([]byte("parent. "), 4*mib/8))
	closeImage(t, im)
	return file.Bytes()
}

func openNode(t testing.TB, b []byte) blockdev.Node {
	t.Helper()
	n, err := Open(t.Context(), blockdev.OpenRequest{Filename: "test.vhdx", File: blocktest.NewMemory(b)})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestDifferencingImageIsOverItsParent, as 7-Zip reads it, too.
func TestDifferencingImageIsOverItsParent(t *testing.T) {
	parent := parentImage(t)
	image := differencingImage(t, parent)
	n := openNode(t, image)
	over := n.(blockdev.Backed)
	if ref := over.BackingReference(); ref.Name != "base.vhdx" || ref.Format != "vhdx" {
		t.Errorf("the parent is %+v", ref)
	}
	over.SetBacking(openNode(t, parent))
	want := bytes.Repeat([]byte("parent. "), 4*mib/8)
	copy(want[512:10*512], bytes.Repeat([]byte{'p'}, 9*512))
	copy(want[17*512:18*512], bytes.Repeat([]byte{'p'}, 512))
	copy(want[mib:2*mib], bytes.Repeat([]byte{'w'}, mib))
	clear(want[2*mib : 3*mib])
	if got := contents(t, n); !bytes.Equal(got, want) {
		t.Error("reads something else")
	}
	checkClean(t, n.(*differencing).Image)

	dir := t.TempDir()
	for name, b := range map[string][]byte{"child.vhdx": image, "base.vhdx": parent} {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got := peer.Run(t, peer.SevenZip(t), "e", "-tVHDX", "-so", filepath.Join(dir, "child.vhdx")); got != string(want) {
		t.Errorf("7-Zip unpacks %d bytes, other than the %d of the disk", len(got), len(want))
	}
}

// TestAnotherParentIsRefused: a disk of two that do not belong together is never read.
func TestAnotherParentIsRefused(t *testing.T) {
	parent := parentImage(t)
	image := differencingImage(t, parent)
	written := blocktest.NewMemory(bytes.Clone(parent))
	im := open(t, written, writable)
	write(t, im, 0, []byte("x"))
	closeImage(t, im)
	for name, below := range map[string]blockdev.Node{
		"another": openNode(t, parentImage(t)), "written to": openNode(t, written.Bytes()), "no VHDX": blocktest.NewMemory(make([]byte, 4*mib)),
	} {
		n := openNode(t, image)
		n.(blockdev.Backed).SetBacking(below)
		for _, off := range []int64{0, 3 * mib} {
			if _, err := n.ReadAt(make([]byte, 1), off); !errors.Is(err, blockdev.ErrInvalid) {
				t.Errorf("%s: at %d: %v", name, off, err)
			}
		}
		if _, err := n.ReadAt(make([]byte, 1), mib); err != nil {
			t.Errorf("%s: a block of its own: %v", name, err)
		}
	}
}

func TestDifferencingImagesAreNotWritten(t *testing.T) {
	r := blockdev.OpenRequest{Filename: "test.vhdx", File: blocktest.NewMemory(differencingImage(t, parentImage(t))), Mode: writable}
	if _, err := Open(t.Context(), r); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("open for writing: %v", err)
	}
	r.Mode.AutoReadOnly = true
	n, err := Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"write":   second(n.WriteAt([]byte("x"), 0)),
		"zero":    blockdev.WriteZeroes(n, mib, 512, 0),
		"discard": blockdev.Discard(n, mib, 512),
		"reopen":  n.(blockdev.Reopener).ReopenWritable(true),
	} {
		if !errors.Is(err, blockdev.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func second(_ int, err error) error { return err }

func TestDamagedDifferencingImages(t *testing.T) {
	base := differencingImage(t, smallImage(t))
	entry := func(i int, v uint64) func(damaged) {
		return func(d damaged) { binary.LittleEndian.PutUint64(d[smallBAT+8*i:], v) }
	}
	const item = smallMeta + offItemFirst + 5*itemEntrySize
	const locator = smallMeta + metadataTableSize + 4*kib
	for name, c := range map[string]struct {
		damage func(d damaged)
		open   error // nil: it opens, and reading block 0 is an error
	}{
		"no bitmap":             {entry(smallRatio, 0), nil},
		"bitmap behind the end": {entry(smallRatio, 7*mib|blockPresent), nil},
		"bitmap over metadata":  {entry(smallRatio, smallMeta|blockPresent), nil},
		"bitmap far away":       {entry(smallRatio, 1<<63|blockPresent), nil},
		"block behind the end":  {entry(0, 7*mib|blockPartlyPresent), nil},
		"no locator":            {func(d damaged) { copy(d[smallMeta+offItemCount:], le16(5)) }, blockdev.ErrCorrupt},
		"locator outside":       {func(d damaged) { copy(d[item+16:], le32(mib-8)) }, blockdev.ErrCorrupt},
		"locator huge":          {func(d damaged) { copy(d[item+20:], le32(512*kib)) }, blockdev.ErrLimit},
		"locator short":         {func(d damaged) { copy(d[item+20:], le32(10)) }, blockdev.ErrCorrupt},
		"locator of another":    {func(d damaged) { d[locator]++ }, blockdev.ErrNotSupported},
		"keys":                  {func(d damaged) { copy(d[locator+offLocatorCount:], le16(0xffff)) }, blockdev.ErrCorrupt},
		"no linkage":            {func(d damaged) { copy(d[locator+offLocatorCount:], le16(0)) }, blockdev.ErrCorrupt},
		"key outside":           {func(d damaged) { copy(d[locator+locatorHeaderSize:], le32(1<<32-1)) }, blockdev.ErrCorrupt},
		"key odd":               {func(d damaged) { copy(d[locator+locatorHeaderSize+8:], le16(3)) }, blockdev.ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			d := bytes.Clone(base)
			c.damage(d)
			n, err := Open(t.Context(), blockdev.OpenRequest{Filename: "test.vhdx", File: blocktest.NewMemory(d)})
			if c.open != nil || err != nil {
				if c.open == nil || !errors.Is(err, c.open) {
					t.Errorf("open: %v, want %v", err, c.open)
				}
				return
			}
			if _, err := n.ReadAt(make([]byte, 1), 0); !errors.Is(err, blockdev.ErrCorrupt) {
				t.Errorf("read: %v", err)
			}
			if res, err := n.(blockdev.Checker).Check(t.Context(), blockdev.CheckOptions{}); err != nil || res.Corruptions != 1 {
				t.Errorf("check: %+v, %v", res, err)
			}
		})
	}
}
