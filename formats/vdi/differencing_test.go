package vdi

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// over makes an empty differencing image over another one.
func over(t testing.TB, below []byte) []byte {
	t.Helper()
	h, err := readHeader(blocktest.NewMemory(below), "below", false)
	if err != nil {
		t.Fatal(err)
	}
	b := newImage(t)
	set32(offType, imageDiff)(b)
	copy(b[offLinkUUID:], h.id[:])
	copy(b[offParentUUID:], h.modified[:])
	return b
}

// addBlock gives the image a block full of v.
func addBlock(b []byte, i int, v byte) []byte {
	n := binary.LittleEndian.Uint32(b[offAllocated:])
	set32(offAllocated, n+1)(b)
	set32(headerBytes+i*mapEntryBytes, n)(b)
	return append(b, bytes.Repeat([]byte{v}, blockSize)...)
}

func openImage(t testing.TB, b []byte) blockdev.Node {
	t.Helper()
	n, err := Open(t.Context(), blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(b)})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// snapshots is a base and two snapshots over it, the newest last.
func snapshots(t testing.TB) [3][]byte {
	t.Helper()
	var s [3][]byte
	s[0] = newImage(t)
	for i := range 3 {
		s[0] = addBlock(s[0], i, byte('a'+i))
	}
	s[1] = over(t, s[0])
	set32(headerBytes+1*mapEntryBytes, entryDiscarded)(s[1]) // zeroes, whatever is below
	s[1] = addBlock(s[1], 2, 'C')
	s[2] = addBlock(over(t, s[1]), 3, 'D')
	return s
}

func TestSnapshotsAreReadThroughTheImagesBelow(t *testing.T) {
	s := snapshots(t)
	var chain blockdev.Node
	for _, b := range s {
		n := openImage(t, b)
		if chain != nil {
			n.(blockdev.Backed).SetBacking(chain)
		}
		chain = n
	}
	for name, read := range map[string]func([]byte, int64) (int, error){
		"own":    chain.ReadAt,
		"engine": func(p []byte, off int64) (int, error) { return blockdev.Read(chain, p, off) },
	} {
		for i, want := range "a\x00CD" {
			p := make([]byte, 100)
			if _, err := read(p, int64(i)*blockSize+500); err != nil || p[0] != byte(want) || p[99] != byte(want) {
				t.Errorf("%s: block %d has %q, %v, want %q", name, i, p[:1], err, want)
			}
		}
	}
}

// TestAnotherImageBelowIsRefused: data of an image that is not the parent, or not as it
// was, is never read.
func TestAnotherImageBelowIsRefused(t *testing.T) {
	s := snapshots(t)
	written := blocktest.NewMemory(bytes.Clone(s[0]))
	n, err := Open(t.Context(), blockdev.OpenRequest{File: written, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.WriteAt([]byte("x"), 0); err != nil {
		t.Fatal(err)
	}
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
	for name, below := range map[string]blockdev.Node{
		"another":      openImage(t, newImage(t)),
		"no VDI":       blocktest.NewMemory(make([]byte, 4<<20)),
		"written to":   openImage(t, written.Bytes()),
		"being edited": n,
	} {
		d := openImage(t, s[1])
		d.(blockdev.Backed).SetBacking(below)
		if _, err := d.ReadAt(make([]byte, 1), 0); !errors.Is(err, blockdev.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := d.Map(0, 1); !errors.Is(err, blockdev.ErrInvalid) {
			t.Errorf("%s: map: %v", name, err)
		}
		if _, err := d.ReadAt(make([]byte, 1), 2*blockSize); err != nil {
			t.Errorf("%s: a block of its own: %v", name, err)
		}
	}
}

func TestSnapshotsAreNotWritten(t *testing.T) {
	r := blockdev.OpenRequest{Filename: "test", File: blocktest.NewMemory(snapshots(t)[1]), Mode: blockdev.Mode{Writable: true}}
	if _, err := Open(t.Context(), r); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("open for writing: %v", err)
	}
	r.Mode.AutoReadOnly = true
	n, err := Open(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.WriteAt([]byte("x"), 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
}

// TestSnapshotsNameTheFileBelow as VirtualBox names those of snapshots.
func TestSnapshotsNameTheFileBelow(t *testing.T) {
	b := newImage(t)
	set32(offType, imageDiff)(b)
	copy(b[offLinkUUID:], "\x33\x22\x11\x00\x55\x44\x77\x66\x88\x99\xaa\xbb\xcc\xdd\xee\xff")
	ref := openImage(t, b).(blockdev.Backed).BackingReference()
	if ref.Name != "{00112233-4455-6677-8899-aabbccddeeff}.vdi" || ref.Format != "vdi" || ref.Kind != blockdev.RefBacking {
		t.Errorf("%+v", ref)
	}
}

// TestSevenZipKnowsSnapshots: it does not read them, but shows what it knows of them.
func TestSevenZipKnowsSnapshots(t *testing.T) {
	peer.SevenZip(t)
	s := snapshots(t)
	path := filepath.Join(t.TempDir(), "image.vdi")
	if err := os.WriteFile(path, s[1], 0o600); err != nil {
		t.Fatal(err)
	}
	out, _ := exec.Command(peer.SevenZip(t), "l", path).Output() // it fails, as it cannot read them
	ref := openImage(t, s[1]).(blockdev.Backed).BackingReference()
	link := "Link   : " + strings.TrimSuffix(ref.Name, ".vdi")
	if !strings.Contains(string(out), "Method = Diff") || !strings.Contains(string(out), link) {
		t.Errorf("no %q in\n%s", link, out)
	}
}
