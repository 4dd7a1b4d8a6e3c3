//go:build !race

package img

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// peakMemory runs a command line in a process of its own and returns the most memory it
// had, in bytes.
func peakMemory(t *testing.T, args ...string) int64 {
	t.Helper()
	cmd := child(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%q: %v\n%s", args, err, stderr.Bytes())
	}
	_, rest, _ := strings.Cut(string(out), "VmHWM:")
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		t.Fatalf("no VmHWM in %q", out)
	}
	kib, err := strconv.ParseInt(fields[0], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return kib << 10
}

// maxGrowth is what converting a large image may take more than a tiny one: the buffers of
// all workers, twice as the collector lets garbage lie, and the caches of qcow2's tables.
const maxGrowth = 64 << 20

// TestConvertMemory shows that the memory for converting does not grow with the image.
func TestConvertMemory(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	run := func(args ...string) { peakMemory(t, args...) }
	run("create", "-q", path("tiny.raw"), "64k")
	run("create", "-q", "-f", "qcow2", path("sparse.qcow2"), "64G")
	run("create", "-q", path("sparse.raw"), "64G")
	writeRandom(t, path("filled.raw"), 256<<20)
	tiny := peakMemory(t, "convert", "-O", "qcow2", path("tiny.raw"), path("tiny.out"))
	for _, c := range []struct {
		name string
		args []string
	}{
		{"sparse", []string{"-f", "qcow2", "-O", "raw", path("sparse.qcow2"), path("sparse.out")}},
		{"sparse the other way", []string{"-f", "raw", "-O", "qcow2", path("sparse.raw"), path("sparse.out.qcow2")}},
		{"filled", []string{"-f", "raw", "-O", "qcow2", path("filled.raw"), path("filled.qcow2")}},
		{"filled the other way", []string{"-f", "qcow2", "-O", "raw", path("filled.qcow2"), path("filled.out")}},
		{"small clusters", []string{"-f", "raw", "-O", "qcow2", "-o", "cluster_size=4k", path("filled.raw"), path("small.qcow2")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			peak := peakMemory(t, append([]string{"convert"}, c.args...)...)
			t.Logf("%d MiB, tiny image %d MiB", peak>>20, tiny>>20)
			if peak > tiny+maxGrowth {
				t.Errorf("%d MiB, with a tiny image %d MiB", peak>>20, tiny>>20)
			}
		})
	}
}

func writeRandom(t *testing.T, path string, n int) {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := rand.NewChaCha8([32]byte{1})
	buf := make([]byte, 1<<20)
	for range n / len(buf) {
		_, _ = r.Read(buf) // never fails
		if _, err := f.Write(buf); err != nil {
			t.Fatal(err)
		}
	}
}
