package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// create makes an image of the given options ("cluster_size=512,...") in memory.
func create(t testing.TB, size int64, options blockdev.Options) *blocktest.Memory {
	t.Helper()
	m := &blocktest.Memory{}
	createIn(t, m, size, options, blockdev.Reference{})
	return m
}

// companion is the external data file of test images that have one.
type companion struct{ node blockdev.Node }

func (c companion) create(context.Context, string) (blockdev.Node, error) { return c.node, nil }

func (c companion) open(context.Context, blockdev.Reference) (blockdev.Node, error) {
	return c.node, nil
}

func createIn(t testing.TB, file blockdev.Node, size int64, options blockdev.Options, backing blockdev.Reference) {
	t.Helper()
	v, err := createOptionTable.Parse(options)
	if err != nil {
		t.Fatal(err)
	}
	err = Create(context.Background(), blockdev.CreateRequest{Filename: "test.qcow2", Size: size, File: file, Options: v, Backing: backing})
	if err != nil {
		t.Fatal(err)
	}
}

var writable = blockdev.Mode{Writable: true, Unmap: true}

func open(t testing.TB, file blockdev.Node, mode blockdev.Mode) *Image {
	t.Helper()
	im, err := Open(context.Background(), blockdev.OpenRequest{Filename: "test.qcow2", File: file, Mode: mode})
	if err != nil {
		t.Fatal(err)
	}
	return im
}

// checkClean fails the test if Check finds anything.
func checkClean(t testing.TB, im *Image) {
	t.Helper()
	res, err := im.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) { t.Error(f.Text) }})
	if err != nil {
		t.Fatal(err)
	}
	if res.Corruptions+res.Leaks+res.CheckErrors > 0 {
		t.Fatalf("check: %+v", res)
	}
}

// save puts a file in memory into a real one, for peers.
func save(t testing.TB, m *blocktest.Memory) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "test.qcow2")
	if err := os.WriteFile(name, m.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func pattern(seed, n int) []byte {
	b := make([]byte, n)
	r := rand.New(rand.NewSource(int64(seed)))
	r.Read(b)
	return b
}

func TestWritesAreReadBackByUsAndByQEMU(t *testing.T) {
	for _, compat := range []string{"v2", "v3"} {
		for _, cs := range []string{"512", "4096", "65536", "2M"} {
			t.Run(fmt.Sprint(compat, cs), func(t *testing.T) {
				const size = 9<<20 + 512
				m := create(t, size, blockdev.Options{"cluster_size": cs, "compat": compat})
				im := open(t, m, writable)
				model := make([]byte, size)
				for i, w := range []struct{ off, n int }{{0, 1}, {1000, 70000}, {3 << 20, 2 << 20}, {size - 700, 700}, {5<<20 - 7, 99}} {
					p := pattern(i, w.n)
					copy(model[w.off:], p)
					if _, err := im.WriteAt(p, int64(w.off)); err != nil {
						t.Fatal(err)
					}
				}
				compareWith(t, im, model)
				checkClean(t, im)
				if err := im.Close(); err != nil {
					t.Fatal(err)
				}
				im = open(t, m, blockdev.Mode{})
				compareWith(t, im, model)
				checkClean(t, im)
				agreeWithQEMU(t, save(t, m), model)
			})
		}
	}
}

func compareWith(t testing.TB, n blockdev.Node, model []byte) {
	t.Helper()
	if n.Size() != int64(len(model)) {
		t.Fatalf("size %d, want %d", n.Size(), len(model))
	}
	got := make([]byte, len(model))
	if _, err := n.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, model) {
		for i := range got {
			if got[i] != model[i] {
				t.Fatalf("contents differ first at %#x: %#x, want %#x", i, got[i], model[i])
			}
		}
	}
}

// agreeWithQEMU lets qemu-img check the image and compare it with the model.
func agreeWithQEMU(t testing.TB, image string, model []byte) {
	t.Helper()
	peer.Need(t, "qemu-img")
	raw := filepath.Join(t.TempDir(), "model.raw")
	if err := os.WriteFile(raw, model, 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "qemu-img", "check", "-f", "qcow2", image)
	peer.Run(t, "qemu-img", "compare", "-f", "qcow2", "-F", "raw", image, raw)
}

// TestZeroesWithoutFallback: what cannot be zeroed by table entries is left as it is.
func TestZeroesWithoutFallback(t *testing.T) {
	im := open(t, create(t, 1<<20, nil), writable)
	want := pattern(1, 1<<20)
	if _, err := im.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	if err := im.WriteZeroes(512, 512, blockdev.ZeroNoFallback); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Error(err)
	}
	compareWith(t, im, want)
	if err := im.WriteZeroes(64<<10, 64<<10, blockdev.ZeroNoFallback); err != nil {
		t.Error(err)
	}
}
