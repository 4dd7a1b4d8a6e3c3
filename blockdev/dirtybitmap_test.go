package blockdev_test

import (
	"testing"

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
