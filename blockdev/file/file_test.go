package file_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/file"
)

// opened opens name by the file driver alone.
func opened(t *testing.T, name string, m blockdev.Mode) (*blockdev.Vertex, error) {
	t.Helper()
	var g blockdev.Graph
	return g.Open(context.Background(), name, blockdev.OpenOptions{Driver: "file", Mode: m})
}

// tempFile makes a file and opens it for writing; it is closed with the test.
func tempFile(t *testing.T, data []byte, m blockdev.Mode) (*blockdev.Vertex, string) {
	t.Helper()
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, data, 0o644); err != nil {
		t.Fatal(err)
	}
	m.Writable = true
	v, err := opened(t, name, m)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	})
	return v, name
}

// TestAgainstModel does random requests to a file, with and without O_DIRECT, and to a
// slice of bytes.
func TestAgainstModel(t *testing.T) {
	for _, direct := range []bool{false, true} {
		rapid.Check(t, func(rt *rapid.T) {
			v, _ := tempFile(t, make([]byte, 10000), blockdev.Mode{Unmap: true, Cache: blockdev.CacheMode{Direct: direct, NoFlush: true}})
			model := make([]byte, 10000)
			rt.Repeat(map[string]func(*rapid.T){
				"write": func(rt *rapid.T) {
					off := rapid.Int64Range(0, 20000).Draw(rt, "off")
					p := rapid.SliceOfN(rapid.Byte(), 0, 9000).Draw(rt, "p")
					if _, err := v.Node.WriteAt(p, off); err != nil {
						rt.Fatal(err)
					}
					if len(p) > 0 {
						model = grown(model, off+int64(len(p)))
					}
					copy(model[min(off, int64(len(model))):], p)
				},
				"zero": func(rt *rapid.T) {
					off := rapid.Int64Range(0, 20000).Draw(rt, "off")
					n := rapid.Int64Range(0, 9000).Draw(rt, "n")
					flags := blockdev.ZeroFlags(rapid.IntRange(0, 1).Draw(rt, "flags"))
					if err := blockdev.WriteZeroes(v.Node, off, n, flags); err != nil {
						rt.Fatal(err)
					}
					if n > 0 {
						model = grown(model, off+n)
						clear(model[off : off+n])
					}
				},
				"resize": func(rt *rapid.T) {
					size := rapid.Int64Range(0, 20000).Draw(rt, "size")
					if err := blockdev.Resize(v.Node, size, blockdev.ResizeOptions{Shrink: true}); err != nil {
						rt.Fatal(err)
					}
					model = grown(model[:min(size, int64(len(model)))], size)
				},
				"": func(rt *rapid.T) {
					got := make([]byte, v.Node.Size())
					if _, err := v.Node.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
						rt.Fatalf("%d bytes differ from the model's %d: %v", len(got), len(model), err)
					}
				},
			})
		})
	}
}

// grown is a copy of b, n bytes long at least.
func grown(b []byte, n int64) []byte {
	if n <= int64(len(b)) {
		return b
	}
	return append(append(make([]byte, 0, n), b...), make([]byte, n-int64(len(b)))...)
}

func TestConcurrentUnalignedDirectWrites(t *testing.T) {
	v, _ := tempFile(t, nil, blockdev.Mode{Cache: blockdev.CacheMode{Direct: true, NoFlush: true}})
	const piece, pieces = 1000, 64
	want := make([]byte, piece*pieces)
	var wg sync.WaitGroup
	for _, i := range rand.Perm(pieces) {
		p := want[i*piece : (i+1)*piece]
		for j := range p {
			p[j] = byte(i + 1)
		}
		wg.Go(func() {
			if _, err := v.Node.WriteAt(p, int64(i*piece)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	got := make([]byte, v.Node.Size())
	if _, err := v.Node.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("%d bytes are not the %d written: %v", len(got), len(want), err)
	}
}

func TestOpenErrorsAreQEMUs(t *testing.T) {
	dir := t.TempDir()
	none := filepath.Join(dir, "none")
	for _, c := range []struct {
		name     string
		writable bool
		want     string
	}{
		{none, false, "Could not open '" + none + "': No such file or directory"},
		{none, true, "Could not open '" + none + "': No such file or directory"},
		{dir, false, "'file' driver requires '" + dir + "' to be a regular file"},
		{dir, true, "Could not open '" + dir + "': Is a directory"},
		{"", false, "The 'file' block driver requires a file name"},
		{"", true, "The 'file' block driver requires a file name"},
	} {
		if runtime.GOOS == "windows" && c.name != "" {
			continue
		}
		_, err := opened(t, c.name, blockdev.Mode{Writable: c.writable})
		if got := blockdev.Message(err); got != c.want {
			t.Errorf("%q, writable %v: %q, not %q", c.name, c.writable, got, c.want)
		}
	}
	_, err := opened(t, none, blockdev.Mode{})
	if !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v is not os.ErrNotExist", err)
	}
}

func TestReadOnly(t *testing.T) {
	v, name := tempFile(t, []byte("data"), blockdev.Mode{})
	if err := v.ReopenWritable(false); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt([]byte("x"), 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	if err := v.ReopenWritable(true); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt([]byte("x"), 0); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "xata" {
		t.Errorf("file holds %q", got)
	}
}
