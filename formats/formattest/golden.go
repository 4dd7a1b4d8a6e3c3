package formattest

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// RunGolden reads the images in testdata/DRIVER, which other tools made: its contents.txt
// has a line for each, the SHA-256 of the disk and the file's name.
func RunGolden(t *testing.T, driver string) { RunGoldenIn(t, driver, driver, nil) }

// RunGoldenIn is RunGolden for the images of another directory of testdata that have the
// driver's name behind the dot, opened with options.
func RunGoldenIn(t *testing.T, driver, dir string, options blockdev.Values) {
	dir = filepath.Join("..", "..", "testdata", dir)
	list, err := os.ReadFile(filepath.Join(dir, "contents.txt"))
	if err != nil {
		t.Fatal(err)
	}
	d, err := blockdev.LookupDriver(driver)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		want, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if options != nil && !strings.HasSuffix(strings.TrimSuffix(name, ".gz"), "."+driver) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			n := openGolden(t, d, dir, name, options)
			// Both ways: the driver's own, and the engine's, which goes by Map.
			for _, read := range []func(p []byte, off int64) (int, error){
				n.ReadAt,
				func(p []byte, off int64) (int, error) { return blockdev.Read(n, p, off) },
			} {
				p := make([]byte, n.Size())
				if _, err := read(p, 0); err != nil {
					t.Fatal(err)
				}
				sum := sha256.Sum256(p)
				if got := hex.EncodeToString(sum[:]); got != want {
					t.Errorf("checksum %s, want %s", got, want)
				}
			}
			checkGolden(t, n)
		})
	}
}

// openGolden opens an image, and what is below it.
func openGolden(t *testing.T, d *blockdev.Driver, dir, name string, options blockdev.Values) blockdev.Node {
	t.Helper()
	n, err := d.Open(context.Background(), blockdev.OpenRequest{Filename: name, File: load(t, dir, name), Options: options})
	if err != nil {
		t.Fatal(err)
	}
	b, ok := n.(blockdev.Backed)
	if !ok || b.BackingReference().Name == "" {
		return n
	}
	ref := b.BackingReference()
	if ref.Format != d.Name {
		b.SetBacking(load(t, dir, ref.Name))
		return n
	}
	b.SetBacking(openGolden(t, d, dir, ref.Name, options))
	return n
}

func checkGolden(t *testing.T, n blockdev.Node) {
	t.Helper()
	c, ok := n.(blockdev.Checker)
	if !ok {
		return
	}
	r, err := c.Check(context.Background(), blockdev.CheckOptions{Report: func(f blockdev.Finding) { t.Error(f.Text) }})
	if err != nil || r.Corruptions+r.Leaks+r.CheckErrors > 0 {
		t.Errorf("check: %+v, %v", r, err)
	}
}

// maxSeed is how long an image may be that the fuzzer changes as a whole, bytes.
const maxSeed = 256 << 10

// Goldens are the images of testdata/DRIVER that are short enough for [Fuzz].
func Goldens(t testing.TB, driver string) (images [][]byte) {
	t.Helper()
	dir := filepath.Join("..", "..", "testdata", driver)
	list, err := os.ReadFile(filepath.Join(dir, "contents.txt"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(list)) {
		_, name, _ := strings.Cut(strings.TrimSpace(line), " ")
		if b := load(t, dir, name).Bytes(); len(b) <= maxSeed {
			images = append(images, b)
		}
	}
	return images
}

// load reads a file of an image, which may be packed.
func load(t testing.TB, dir, name string) *blocktest.Memory {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if errors.Is(err, os.ErrNotExist) {
		name += ".gz"
		b, err = os.ReadFile(filepath.Join(dir, name))
	}
	if err != nil {
		t.Fatal(err)
	}
	if strings.HasSuffix(name, ".gz") {
		z, err := gzip.NewReader(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if b, err = io.ReadAll(z); err != nil {
			t.Fatal(err)
		}
	}
	return blocktest.NewMemory(b)
}
