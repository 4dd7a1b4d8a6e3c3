package raw_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
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
