package vpc

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// differencingImage has the sectors 1 and 9 of block 0, and the parent "dir/base.vhd".
func differencingImage(t testing.TB, parent []byte) []byte {
	t.Helper()
	b := newImage(t, nil)
	b = b[:len(b)-footerBytes]
	at := len(b)
	copy(b[firstEntry:], []byte{0, 0, 0, byte(at / sectorSize)})
	block := make([]byte, sectorSize+defaultBlockSize)
	block[0], block[1] = 0x40, 0x40
	for i := range block[sectorSize:] {
		block[sectorSize+i] = 'd'
	}
	b = append(b, block...)
	relative, own := utf16.Encode([]rune(`.\dir\base.vhd`)), utf16.Encode([]rune("base.vhd"))
	var name []byte
	for _, c := range relative {
		name = binary.LittleEndian.AppendUint16(name, c)
	}
	header := b[footerBytes:][:headerBytes]
	for i, c := range own {
		binary.BigEndian.PutUint16(header[offParentName+2*i:], c)
	}
	copy(header[offParentUUID:], parent[len(parent)-footerBytes+offUUID:][:16])
	locator := header[offLocators+locatorBytes:]
	copy(locator, locatorRelative)
	binary.BigEndian.PutUint32(locator[4:], sectorSize)
	binary.BigEndian.PutUint32(locator[offLocatorSize:], uint32(len(name)))
	binary.BigEndian.PutUint64(locator[offLocatorData:], uint64(len(b)))
	binary.BigEndian.PutUint32(header[offHeaderChecksum:], checksum(header, offHeaderChecksum))
	b = append(b, append(name, make([]byte, sectorSize-len(name))...)...)
	edit(offType, 0, 0, 0, typeDifferencing)(b)
	return append(b, b[:footerBytes]...)
}

// parentImage has data, a part of it in the block that differencingImage has.
func parentImage(t testing.TB, o blockdev.Values) []byte {
	t.Helper()
	file := blocktest.NewMemory(newImage(t, o))
	n, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.WriteAt(bytes.Repeat([]byte("parent. "), 128<<10), 100); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	return file.Bytes()
}

// TestDifferencingImageIsOverItsParent, as 7-Zip reads it, too.
func TestDifferencingImageIsOverItsParent(t *testing.T) {
	for subformat, o := range map[string]blockdev.Values{"dynamic": nil, "fixed": {"subformat": "fixed"}} {
		t.Run(subformat, func(t *testing.T) {
			parent := parentImage(t, o)
			image := differencingImage(t, parent)
			n := openBytes(t, image)
			over := n.(blockdev.Backed)
			if ref := over.BackingReference(); ref.Name != "dir/base.vhd" || ref.Format != "vpc" {
				t.Errorf("the parent is %+v", ref)
			}
			below := openBytes(t, parent)
			over.SetBacking(below)
			want := make([]byte, n.Size())
			if _, err := below.ReadAt(want, 0); err != nil {
				t.Fatal(err)
			}
			for _, sector := range []int{1, 9} {
				copy(want[sector*sectorSize:], bytes.Repeat([]byte{'d'}, sectorSize))
			}
			got := make([]byte, len(want))
			if _, err := n.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
				t.Errorf("reads something else: %v", err)
			}
			othersRead(t, image, parent, want)
		})
	}
}

// othersRead lets 7-Zip read the disk, and libvhdi tell of the image. (Of libvhdi 20210425 is
// known that it takes what follows a sector of the image for the image's.)
func othersRead(t *testing.T, image, parent, want []byte) {
	t.Helper()
	peer.Need(t, "vhdiinfo")
	dir := t.TempDir()
	child, base := filepath.Join(dir, "child.vhd"), filepath.Join(dir, "base.vhd")
	for name, b := range map[string][]byte{child: image, base: parent} {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// 7-Zip looks for the parent beside the image.
	if got := peer.Run(t, peer.SevenZip(t), "e", "-tVHD", "-so", child); got != string(want) {
		t.Errorf("7-Zip unpacks %d bytes, other than the %d of the disk", len(got), len(want))
	}
	out := peer.Run(t, "vhdiinfo", child)
	if !strings.Contains(out, "Differential") || !strings.Contains(out, "base.vhd") {
		t.Errorf("vhdiinfo:\n%s", out)
	}
}

func openBytes(t testing.TB, b []byte) blockdev.Node {
	t.Helper()
	n, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(b)})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestAnotherParentIsRefused: a disk of two that do not belong together is never read.
func TestAnotherParentIsRefused(t *testing.T) {
	image := differencingImage(t, newImage(t, nil))
	for name, below := range map[string]blockdev.Node{
		"another": openBytes(t, newImage(t, nil)), "no VHD": blocktest.NewMemory(make([]byte, 4<<20)),
	} {
		n := openBytes(t, image)
		n.(blockdev.Backed).SetBacking(below)
		for _, off := range []int64{0, 3 << 20} { // in a block that is there, and in one that is not
			if _, err := n.ReadAt(make([]byte, 1), off); !errors.Is(err, blockdev.ErrInvalid) {
				t.Errorf("%s: at %d: %v", name, off, err)
			}
		}
	}
}

func TestDifferencingImagesAreNotWritten(t *testing.T) {
	file := blocktest.NewMemory(differencingImage(t, newImage(t, nil)))
	if _, err := Open(context.Background(), blockdev.OpenRequest{File: file, Mode: blockdev.Mode{Writable: true}}); err == nil {
		t.Error("opens for writing")
	}
}
