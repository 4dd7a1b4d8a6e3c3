package raw_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/formats/formattest"
	_ "github.com/qmon/qmon/formats/raw"
)

func TestProbedOpenReadWrite(t *testing.T) {
	ctx := context.Background()
	name := filepath.Join(t.TempDir(), "r.img")
	var g blockdev.Graph
	if err := g.Create(ctx, "raw", name, 1000, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	v, err := g.Open(ctx, name, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if !v.Probed || v.Driver.Name != "raw" || v.Filename != name || v.Node.Size() != 1024 {
		t.Errorf("probed %v, driver %s, file %s, size %d", v.Probed, v.Driver.Name, v.Filename, v.Node.Size())
	}
	if _, err := v.Node.WriteAt([]byte("hello"), 1019); err != nil {
		t.Error(err)
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if err != nil || len(got) != 1024 || !bytes.HasSuffix(got, []byte("hello")) {
		t.Errorf("file has %d bytes, %v", len(got), err)
	}
	if n := len(g.Vertices()); n != 0 {
		t.Errorf("%d vertices left", n)
	}
}

func TestProbedDiskRefusesAnotherFormatsMagic(t *testing.T) {
	blockdev.Register(blockdev.Driver{Name: "magic-for-test", Probe: func(head []byte, _ string) int {
		if bytes.HasPrefix(head, []byte("MAGIC")) {
			return 100
		}
		return 0
	}})
	ctx := context.Background()
	name := filepath.Join(t.TempDir(), "r.img")
	var g blockdev.Graph
	if err := g.Create(ctx, "raw", name, 4096, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	for _, driver := range []string{"", "raw"} {
		v, err := g.Open(ctx, name, blockdev.OpenOptions{Driver: driver, Mode: blockdev.Mode{Writable: true}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v.Node.WriteAt([]byte("GIC"), 2); err != nil {
			t.Errorf("driver %q: %v", driver, err)
		}
		_, err = v.Node.WriteAt([]byte("MA"), 0)
		if guessed := driver == ""; guessed != errors.Is(err, syscall.EPERM) {
			t.Errorf("driver %q: writing the magic: %v", driver, err)
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}

func TestConformance(t *testing.T) {
	formattest.Run(t, formattest.Format{Driver: "raw"})
}

func TestPreallocation(t *testing.T) {
	for mode, allocated := range map[string]bool{"": false, "off": false, "falloc": true, "full": true} {
		name := filepath.Join(t.TempDir(), "r.img")
		var g blockdev.Graph
		err := g.Create(t.Context(), "raw", name, 1<<20, blockdev.Options{"preallocation": mode}, blockdev.Reference{})
		if errors.Is(err, syscall.EOPNOTSUPP) || runtime.GOOS != "linux" {
			t.Skip("no holes here")
		}
		if err != nil {
			t.Fatal(err)
		}
		v, err := g.Open(t.Context(), name, blockdev.OpenOptions{Driver: "raw"})
		if err != nil {
			t.Fatal(err)
		}
		size, err := v.Node.(blockdev.AllocatedSizer).AllocatedSize()
		if err != nil || v.Node.Size() != 1<<20 || allocated != (size >= 1<<20) {
			t.Errorf("%q: %d of %d bytes allocated, %v", mode, size, v.Node.Size(), err)
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}

// TestWindow writes through offset and size, and looks at the file.
func TestWindow(t *testing.T) {
	var g blockdev.Graph
	file := blocktest.NewMemory(bytes.Repeat([]byte{'.'}, 4096))
	if _, err := g.Add(file, "f", blockdev.Mode{Writable: true}); err != nil {
		t.Fatal(err)
	}
	v, err := g.OpenDescription(t.Context(), blockdev.Options{"driver": "raw", "file": "f", "offset": "1000", "size": "1k"},
		blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt(bytes.Repeat([]byte{'x'}, 1024), 0); err != nil {
		t.Error(err)
	}
	if _, err := v.Node.WriteAt([]byte("y"), 1024); !errors.Is(err, blockdev.ErrRange) {
		t.Errorf("write behind the window: %v", err)
	}
	if err := blockdev.Resize(v.Node, 2048, blockdev.ResizeOptions{}); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("resize of a window: %v", err)
	}
	want := bytes.Repeat([]byte{'.'}, 4096)
	copy(want[1000:], bytes.Repeat([]byte{'x'}, 1024))
	if !bytes.Equal(file.Bytes(), want) {
		t.Error("other bytes than those of the window changed")
	}
}

// TestPartialSector reads a file that does not end at a sector's end.
func TestPartialSector(t *testing.T) {
	name := filepath.Join(t.TempDir(), "r.img")
	if err := os.WriteFile(name, bytes.Repeat([]byte{1}, 700), 0o644); err != nil {
		t.Fatal(err)
	}
	var g blockdev.Graph
	v, err := g.Open(t.Context(), name, blockdev.OpenOptions{Driver: "raw"})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, v.Node.Size())
	if _, err := v.Node.ReadAt(p, 0); err != nil || len(p) != 1024 || p[699] != 1 || !blockdev.IsZero(p[700:]) {
		t.Errorf("%d bytes, %v", len(p), err)
	}
	if e, err := v.Node.Map(700, 324); err != nil || e.Kind != blockdev.ExtentZero || e.Len != 324 {
		t.Errorf("%+v, %v", e, err)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}
