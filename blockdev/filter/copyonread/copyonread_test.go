package copyonread_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	_ "github.com/qmon/qmon/formats/all"
)

const size = 1 << 20

// overlay is an empty qcow2 over one that is filled with fives up to 128 KiB, both in g.
func overlay(t *testing.T, g *blockdev.Graph) *blockdev.Vertex {
	t.Helper()
	dir := t.TempDir()
	base, top := filepath.Join(dir, "base.qcow2"), filepath.Join(dir, "top.qcow2")
	for _, c := range []struct{ name, below string }{{base, ""}, {top, base}} {
		ref := blockdev.Reference{Kind: blockdev.RefBacking, Parent: c.name, Name: c.below, Format: "qcow2"}
		if c.below == "" {
			ref = blockdev.Reference{}
		}
		if err := g.Create(t.Context(), "qcow2", c.name, size, nil, ref); err != nil {
			t.Fatal(err)
		}
		v := open(t, g, blockdev.Options{"driver": "qcow2", "file.filename": c.name})
		if c.name == top {
			return v
		}
		if _, err := v.Node.WriteAt(bytes.Repeat([]byte{5}, 128<<10), 0); err != nil {
			t.Fatal(err)
		}
		if err := v.Unref(); err != nil {
			t.Fatal(err)
		}
	}
	return nil
}

func open(t *testing.T, g *blockdev.Graph, o blockdev.Options) *blockdev.Vertex {
	t.Helper()
	v, err := g.OpenDescription(context.Background(), o, blockdev.OpenOptions{
		Mode: blockdev.Mode{Writable: true, Unmap: true}, Gate: blockdev.FollowGate{},
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// filtered is an overlay with the filter over it, and the overlay's own node.
func filtered(t *testing.T) (filter, image blockdev.Node) {
	g := new(blockdev.Graph)
	v := overlay(t, g)
	f := open(t, g, blockdev.Options{"driver": "copy-on-read", "file": v.Name})
	t.Cleanup(func() {
		if err := errors.Join(f.Unref(), v.Unref()); err != nil {
			t.Error(err)
		}
	})
	return f.Node, v.Node
}

// allocated lists the clusters, of 64 KiB, that are in the image itself.
func allocated(t *testing.T, n blockdev.Node) (out []int64) {
	t.Helper()
	for off := int64(0); off < n.Size(); off += 64 << 10 {
		e, err := n.Map(off, 64<<10)
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind != blockdev.ExtentUnallocated {
			out = append(out, off>>16)
		}
	}
	return out
}

func read(t *testing.T, n blockdev.Node, off, length int64, want byte) {
	t.Helper()
	p := make([]byte, length)
	if _, err := n.ReadAt(p, off); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(p, bytes.Repeat([]byte{want}, int(length))) {
		t.Errorf("%d bytes at %d are not all %d", length, off, want)
	}
}

func TestWhatIsReadIsKept(t *testing.T) {
	filter, image := filtered(t)
	for _, c := range []struct {
		off, length int64
		want        byte
		allocated   []int64
	}{
		{0, 0, 5, nil},
		{100, 10, 5, []int64{0}},
		{64<<10 - 1, 2, 5, []int64{0, 1}},
		{500 << 10, 10, 0, []int64{0, 1, 7}}, // zeroes, too
		{size - 1, 1, 0, []int64{0, 1, 7, 15}},
		{0, 128 << 10, 5, []int64{0, 1, 7, 15}},
	} {
		read(t, filter, c.off, c.length, c.want)
		got := allocated(t, image)
		if len(got) != len(c.allocated) {
			t.Errorf("clusters %v are there, not %v", got, c.allocated)
		}
	}
}

// TestReadThroughTheEngine shows that a copy to elsewhere fills the image as well.
func TestReadThroughTheEngine(t *testing.T) {
	filter, image := filtered(t)
	p := make([]byte, 1000)
	if _, err := blockdev.Read(filter, p, 1000); err != nil {
		t.Fatal(err)
	}
	if got := allocated(t, image); len(got) != 1 || p[0] != 5 {
		t.Errorf("%v is there, %d was read", got, p[0])
	}
}

// TestACopyDoesNotUndoAWrite reads and writes one cluster at once.
func TestACopyDoesNotUndoAWrite(t *testing.T) {
	filter, _ := filtered(t)
	var group sync.WaitGroup
	for i := range int64(32) {
		group.Go(func() {
			if _, err := filter.WriteAt([]byte{9}, i*4096); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if _, err := filter.ReadAt(make([]byte, 16), i*4096+100); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for i := range int64(32) {
		read(t, filter, i*4096, 1, 9)
		read(t, filter, i*4096+1, 4095, 5)
	}
}

func TestReadOnlyIsRefused(t *testing.T) {
	g := new(blockdev.Graph)
	v := overlay(t, g)
	defer v.Unref()
	_, err := g.OpenDescription(t.Context(), blockdev.Options{"driver": "copy-on-read", "file": v.Name}, blockdev.OpenOptions{})
	if blockdev.Message(err) != "Block node is read-only" {
		t.Error(err)
	}
	f := open(t, g, blockdev.Options{"driver": "copy-on-read", "file": v.Name})
	defer f.Unref()
	if err := f.ReopenWritable(false); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("reopened read-only: %v", err)
	}
}
