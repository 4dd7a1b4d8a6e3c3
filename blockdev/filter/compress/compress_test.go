package compress_test

import (
	"bytes"
	"math/rand/v2"
	"path/filepath"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/formats/all"
)

const (
	cluster = 64 << 10
	size    = 8*cluster + 512 // the last cluster is a part of one
)

var mode = blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true, Unmap: true}, Gate: blockdev.FollowGate{}}

// over opens the filter over a new image of a format, with a disk of fives below the image.
func over(t *testing.T, driver string) (filter, image blockdev.Node) {
	t.Helper()
	g := new(blockdev.Graph)
	base, err := g.Add(blocktest.NewMemory(bytes.Repeat([]byte{5}, size)), "base", blockdev.Mode{})
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "image")
	if err := g.Create(t.Context(), driver, name, size, nil, blockdev.Reference{}); err != nil {
		t.Fatal(err)
	}
	v, err := g.OpenDescription(t.Context(), blockdev.Options{"driver": driver, "file.filename": name, "backing": base.Name}, mode)
	if err != nil {
		t.Fatal(err)
	}
	f, err := g.OpenDescription(t.Context(), blockdev.Options{"driver": "compress", "file": v.Name}, mode)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, u := range []*blockdev.Vertex{f, v, base} {
			if err := u.Unref(); err != nil {
				t.Error(err)
			}
		}
	})
	return f.Node, v.Node
}

// TestWhatIsNewIsCompressed and what is written over it is not, as in QEMU.
func TestWhatIsNewIsCompressed(t *testing.T) {
	filter, image := over(t, "qcow2")
	for _, c := range []struct {
		name       string
		off, n     int64
		compressed string // 0 or 1 for each cluster after the write, - for none
	}{
		{"a whole cluster", cluster, cluster, "-1-------"},
		{"a part of one", 3*cluster + 100, 1000, "-1-1-----"},
		{"parts and wholes", 4*cluster - 1, 2*cluster + 2, "-1-0111--"},
		{"a part once more", cluster + 5, 1, "-0-0111--"},
		{"the end of the disk", size - 1, 1, "-0-0111-1"},
	} {
		if _, err := filter.WriteAt(bytes.Repeat([]byte{7}, int(c.n)), c.off); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		var got []byte
		for off := int64(0); off < size; off += cluster {
			e, err := image.Map(off, min(cluster, size-off))
			switch {
			case err != nil:
				t.Fatal(err)
			case e.Kind == blockdev.ExtentUnallocated:
				got = append(got, '-')
			case e.Compressed:
				got = append(got, '1')
			default:
				got = append(got, '0')
			}
		}
		if string(got) != c.compressed {
			t.Errorf("%s: %s, not %s", c.name, got, c.compressed)
		}
	}
}

// TestTheDiskIsAsWithoutTheFilter, whatever is asked of it.
func TestTheDiskIsAsWithoutTheFilter(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		filter, image := over(t, rapid.SampledFrom([]string{"qcow2", "qcow"}).Draw(r, "driver"))
		model := bytes.Repeat([]byte{5}, size)
		for i := range rapid.IntRange(1, 12).Draw(r, "requests") {
			off := rapid.Int64Range(0, size-1).Draw(r, "off")
			part := model[off:min(size, off+rapid.Int64Range(1, 3*cluster).Draw(r, "length"))]
			var err error
			if rapid.IntRange(0, 3).Draw(r, "kind") > 0 {
				copy(part, bytes.Repeat([]byte{byte(i), 1, 2}, len(part)))
				_, err = filter.WriteAt(part, off)
			} else {
				clear(part)
				err = blockdev.WriteZeroes(filter, off, int64(len(part)), 0)
			}
			if err != nil {
				r.Fatal(err)
			}
			got := make([]byte, size)
			if _, err := filter.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
				r.Fatalf("after %d bytes at %d the disk differs: %v", len(part), off, err)
			}
		}
		if c, ok := image.(blockdev.Checker); ok {
			if found, err := c.Check(t.Context(), blockdev.CheckOptions{}); err != nil || found.Corruptions+found.Leaks > 0 {
				r.Fatalf("check: %+v, %v", found, err)
			}
		}
	})
}

// TestPartsOfOneClusterAtOnce has writers and zeroes share clusters: each reads what is around
// its part, and must not bring back what another one has changed meanwhile.
func TestPartsOfOneClusterAtOnce(t *testing.T) {
	filter, _ := over(t, "qcow2")
	const part = cluster / 16
	var group sync.WaitGroup
	for _, i := range rand.Perm(8 * 16) {
		group.Go(func() {
			off := int64(i) * part
			var err error
			if i%2 == 0 {
				err = blockdev.WriteZeroes(filter, off, part, 0)
			} else {
				_, err = filter.WriteAt(bytes.Repeat([]byte{9}, part), off)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got := make([]byte, size)
	if _, err := filter.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	for i := range 8 * 16 {
		if want := byte(i % 2 * 9); got[i*part] != want || got[(i+1)*part-1] != want {
			t.Errorf("part %d holds %d, not %d", i, got[i*part], want)
		}
	}
}
