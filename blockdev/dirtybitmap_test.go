package blockdev_test

import (
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
)

// TestDirtyBitmapModel compares a bitmap with a slice of booleans.
func TestDirtyBitmapModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		granularity := int64(512) << rapid.IntRange(0, 3).Draw(t, "granularity")
		sizes := rapid.Int64Range(0, 70000*512)
		size := sizes.Draw(t, "size")
		d, err := blockdev.NewDirtyBitmap(size, granularity)
		if err != nil {
			t.Fatal(err)
		}
		granules := func(size int64) int64 { return (size + granularity - 1) / granularity }
		model := make([]bool, granules(size))
		t.Repeat(map[string]func(*rapid.T){
			"set": func(t *rapid.T) {
				off := rapid.Int64Range(0, size).Draw(t, "off")
				n := rapid.Int64Range(0, size-off).Draw(t, "n")
				d.Set(off, n)
				for g := off / granularity; n > 0 && g < granules(off+n); g++ {
					model[g] = true
				}
			},
			"clear": func(*rapid.T) { d.Clear(); clear(model) },
			"resize": func(t *rapid.T) {
				size = sizes.Draw(t, "size")
				if err := d.Resize(size); err != nil {
					t.Fatal(err)
				}
				resized := make([]bool, granules(size))
				copy(resized, model)
				model = resized
			},
			"merge with a coarser one": func(t *rapid.T) {
				coarse, err := blockdev.NewDirtyBitmap(size, 2*granularity)
				if err != nil {
					t.Fatal(err)
				}
				off := rapid.Int64Range(0, size).Draw(t, "off")
				coarse.Set(off, 1)
				if err := d.Merge(coarse); err != nil {
					t.Fatal(err)
				}
				for g := off / granularity &^ 1; off < size && g < min(off/granularity&^1+2, int64(len(model))); g++ {
					model[g] = true
				}
			},
			"store and load": func(t *rapid.T) {
				copied, err := blockdev.NewDirtyBitmap(size, granularity)
				if err != nil {
					t.Fatal(err)
				}
				step := int64(8) << rapid.IntRange(0, 10).Draw(t, "step")
				for at := int64(0); at < d.EncodedSize(); at += step {
					p := make([]byte, step)
					d.Encode(p, at)
					copied.Decode(p, at)
				}
				d = copied
			},
			"": func(t *rapid.T) { compareWithModel(t, d, model, size, granularity) },
		})
	})
}

func compareWithModel(t *rapid.T, d *blockdev.DirtyBitmap, model []bool, size, granularity int64) {
	var count int64
	for _, dirty := range model {
		if dirty {
			count += granularity
		}
	}
	if got := d.Dirty(); got != count || d.Size() != size {
		t.Fatalf("%d dirty of %d, want %d of %d", got, d.Size(), count, size)
	}
	var got []bool
	for off := int64(0); off < size; {
		dirty, n := d.Status(off, size-off)
		for range (n + granularity - 1) / granularity {
			got = append(got, dirty)
		}
		off += n
	}
	for g, dirty := range model {
		if g >= len(got) || got[g] != dirty {
			t.Fatalf("granule %d is not %t", g, dirty)
		}
	}
}

// TestDirtyBitmapBehindTheEnd: a reader may not know yet that the disk has become smaller.
func TestDirtyBitmapBehindTheEnd(t *testing.T) {
	d, err := blockdev.NewDirtyBitmap(1<<30, 512)
	if err != nil {
		t.Fatal(err)
	}
	d.Set(0, 1<<30)
	if err := d.Resize(4096); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		off, n int64
		dirty  bool
		length int64
	}{{0, 1 << 30, true, 4096}, {4096, 512, false, 512}, {1<<30 - 512, 512, false, 512}} {
		if dirty, n := d.Status(c.off, c.n); dirty != c.dirty || n != c.length {
			t.Errorf("at %d: dirty %t for %d bytes, not %t for %d", c.off, dirty, n, c.dirty, c.length)
		}
	}
}

// TestDirtyBitmapsMergeBothWays merges two bitmaps into each other at once.
func TestDirtyBitmapsMergeBothWays(t *testing.T) {
	a, aerr := blockdev.NewDirtyBitmap(1<<20, 512)
	b, berr := blockdev.NewDirtyBitmap(1<<20, 512)
	if aerr != nil || berr != nil {
		t.Fatal(aerr, berr)
	}
	a.Set(0, 1)
	b.Set(4096, 1)
	merge := func(to, from *blockdev.DirtyBitmap) {
		for range 3000 {
			if err := to.Merge(from); err != nil {
				t.Error(err)
			}
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() { merge(a, b) })
	wg.Go(func() { merge(b, a) })
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("they wait for each other")
	}
	if a.Dirty() != 1024 || b.Dirty() != 1024 {
		t.Errorf("%d and %d bytes are dirty", a.Dirty(), b.Dirty())
	}
}
