package all_test

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/peer"
)

const (
	tib = int64(1) << 40
	// farPiece is how much is written at each place of farPlaces, bytes.
	farPiece = 64 << 10
	// tibSlack is how much more than QEMU's an image of 1 TiB may take, bytes.
	tibSlack = 256 << 10
)

var farPlaces = []int64{0, tib / 2, tib - farPiece}

// TestSparseTiB has QEMU and qmon read what the other wrote at the ends of an image of 1 TiB,
// and compares what the images take.
func TestSparseTiB(t *testing.T) {
	blocktest.Sequential(t)
	peer.Need(t, "qemu-img", "qemu-io")
	for _, k := range writableKinds {
		if strings.Contains(k.options, "subformat") || k.name == "vdi-static" {
			continue // those with another order of size, or of many files
		}
		t.Run(k.name, func(t *testing.T) {
			dir := t.TempDir()
			theirs := img.Source{Filename: filepath.Join(dir, "theirs"), Format: k.driver}
			args := []string{"create", "-q", "-f", k.driver}
			if k.driver == "vpc" {
				args = append(args, "-o", k.options)
			}
			peer.Run(t, "qemu-img", append(args, theirs.Filename, "1T")...)
			theyDo(t, theirs, "write")
			weRead(t, theirs)

			ours := img.Source{Filename: filepath.Join(dir, "ours"), Format: k.driver}
			weWrite(t, ours, k.driver)
			theyDo(t, ours, "read")
			if a, b := takes(t, ours), takes(t, theirs); a > b+tibSlack {
				t.Errorf("the image takes %d bytes, QEMU's %d", a, b)
			}
		})
	}
}

// theyDo lets qemu-io write the pieces, or verify them.
func theyDo(t *testing.T, image img.Source, command string) {
	t.Helper()
	args := []string{"-f", image.Format}
	for i, off := range farPlaces {
		args = append(args, "-c", fmt.Sprintf("%s -P %d %d %d", command, i+1, off, farPiece))
	}
	out := peer.Run(t, "qemu-io", append(args, image.Filename)...)
	if strings.Contains(out, "failed") {
		t.Errorf("qemu-io: %s", out)
	}
}

// weRead finds the pieces, and nothing else that could hold data.
func weRead(t *testing.T, image img.Source) {
	t.Helper()
	m, err := img.Map(context.Background(), img.MapOptions{Session: session, Image: image, Length: -1})
	if err != nil {
		t.Fatal(err)
	}
	var data int64
	for _, e := range m.Entries {
		if e.Data && !e.Zero {
			data += e.Length
		}
	}
	if data > tib/1000 {
		t.Errorf("%d bytes are data", data)
	}
	v := openImage(t, image, false)
	got := make([]byte, farPiece)
	for i, off := range farPlaces {
		if _, err := v.Node.ReadAt(got, off); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{byte(i + 1)}, farPiece)) {
			t.Errorf("at %d: %v, %x", off, err, got[:4])
		}
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}

func weWrite(t *testing.T, image img.Source, driver string) {
	t.Helper()
	o := blockdev.Options{}
	if driver == "vpc" {
		o["force_size"] = "on"
	}
	size := tib
	err := img.Create(context.Background(), img.CreateOptions{Session: session, Filename: image.Filename, Format: driver, Size: &size, Options: o})
	if err != nil {
		t.Fatal(err)
	}
	v := openImage(t, image, true)
	for i, off := range farPlaces {
		if _, err := v.Node.WriteAt(bytes.Repeat([]byte{byte(i + 1)}, farPiece), off); err != nil {
			t.Fatal(err)
		}
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
}

func openImage(t *testing.T, image img.Source, writable bool) *blockdev.Vertex {
	t.Helper()
	var g blockdev.Graph
	v, err := g.Open(context.Background(), image.Filename, blockdev.OpenOptions{
		Driver: image.Format, Gate: blockdev.FollowGate{}, Mode: blockdev.Mode{Writable: writable},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// takes is what an image takes on the host, bytes.
func takes(t *testing.T, image img.Source) int64 {
	t.Helper()
	info, err := img.ReadInfo(context.Background(), img.InfoOptions{Session: session, Image: image})
	if err != nil {
		t.Fatal(err)
	}
	if info.ActualSize == nil {
		t.Skip("the host does not tell")
	}
	return *info.ActualSize
}
