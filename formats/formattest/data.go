package formattest

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

func testReadWrite(t *testing.T, f Format) {
	m := f.fresh(t)
	m.verify() // a new image reads as zeroes
	for range 5 {
		for range 20 {
			m.write()
		}
		m.verify()
		m.reopen()
		m.verify()
	}
	off, n := m.somewhere()
	p := make([]byte, n)
	if k, err := m.node().ReadAt(p, off); k != len(p) || err != nil || !bytes.Equal(p, m.model[off:off+n]) {
		t.Errorf("read of %d at %d: %d, %v", n, off, k, err)
	}
	m.close()
}

func testRanges(t *testing.T, f Format) {
	m := f.fresh(t)
	defer m.close()
	for _, r := range []struct{ off, n int64 }{{f.Size, 1}, {f.Size - 1, 2}, {-1, 1}, {1 << 62, 1}} {
		p := make([]byte, r.n)
		if _, err := m.node().ReadAt(p, r.off); !errors.Is(err, blockdev.ErrRange) {
			t.Errorf("read of %d at %d: %v", r.n, r.off, err)
		}
		if _, err := m.node().WriteAt(p, r.off); !errors.Is(err, blockdev.ErrRange) {
			t.Errorf("write of %d at %d: %v", r.n, r.off, err)
		}
		if _, err := m.node().Map(r.off, r.n); !errors.Is(err, blockdev.ErrRange) {
			t.Errorf("map of %d at %d: %v", r.n, r.off, err)
		}
	}
}

func testZeroAndDiscard(t *testing.T, f Format) {
	m := f.fresh(t)
	for i := range 60 {
		m.write()
		off, n := m.somewhere()
		if i%3 == 2 {
			if err := blockdev.Discard(m.node(), off, n); err != nil {
				t.Fatal(err)
			}
			// What is discarded is undefined, but stays what it is.
			if _, err := m.node().ReadAt(m.model[off:off+n], off); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := blockdev.WriteZeroes(m.node(), off, n, blockdev.ZeroFlags(i%2)); err != nil {
			t.Fatal(err)
		}
		clear(m.model[off : off+n])
	}
	m.verify()
	m.reopen()
	m.verify()
	m.close()
}

func testMap(t *testing.T, f Format) {
	m := f.fresh(t)
	defer m.close()
	for range 20 {
		m.write()
		off, n := m.somewhere()
		if err := blockdev.WriteZeroes(m.node(), off, n, blockdev.ZeroMayUnmap); err != nil {
			t.Fatal(err)
		}
		clear(m.model[off : off+n])
	}
	for off := int64(0); off < f.Size; {
		e, err := m.node().Map(off, f.Size-off)
		if err != nil || e.Len < 1 || e.Len > f.Size-off {
			t.Fatalf("map at %d: %+v, %v", off, e, err)
		}
		m.checkExtent(off, e)
		off += e.Len
	}
}

// checkExtent compares what an extent says with the model.
func (m *image) checkExtent(off int64, e blockdev.Extent) {
	m.t.Helper()
	want := m.model[off : off+e.Len]
	switch e.Kind {
	case blockdev.ExtentZero, blockdev.ExtentUnallocated:
		if !blockdev.IsZero(want) {
			m.t.Errorf("%d bytes at %d are %s but not zero", e.Len, off, e.Kind)
		}
	case blockdev.ExtentData:
		p := make([]byte, e.Len)
		if _, err := e.Node.ReadAt(p, e.Host); err != nil || !bytes.Equal(p, want) {
			m.t.Errorf("%d bytes at %d are not at %d of the file: %v", e.Len, off, e.Host, err)
		}
	case blockdev.ExtentOpaque:
		p := make([]byte, e.Len)
		if err := m.node().(blockdev.OpaqueReader).ReadOpaque(p, off); err != nil || !bytes.Equal(p, want) {
			m.t.Errorf("%d opaque bytes at %d: %v", e.Len, off, err)
		}
	}
}

func testResize(t *testing.T, f Format) {
	m := f.fresh(t)
	defer m.close()
	for range 20 {
		m.write()
	}
	for _, size := range []int64{f.Size + 512, f.Size*2 + 1024, f.Size, f.Size / 2 &^ 511, 512, f.Size} {
		err := blockdev.Resize(m.node(), size, blockdev.ResizeOptions{Shrink: true})
		if unsupported(err) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatalf("to %d: %v", size, err)
		}
		keep := min(size, int64(len(m.model)))
		m.define(keep)
		m.model = append(make([]byte, 0, size), m.model[:keep]...)[:size]
		m.verify()
		m.reopen()
		m.verify()
	}
}

func testReadOnly(t *testing.T, f Format) {
	file := f.create(t)
	before := file.Bytes()
	v, err := f.open(file, false)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.ReadAt(make([]byte, f.Size), 0); err != nil {
		t.Error(err)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(before, file.Bytes()) {
		t.Error("an image that was only read changed")
	}
}

func testConcurrent(t *testing.T, f Format) {
	const writers = 8
	m := f.fresh(t)
	defer m.close()
	var wg sync.WaitGroup
	// Each writer has every 8th piece, so that neighbours share clusters.
	const piece = 700
	for w := range int64(writers) {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(3, uint64(w)))
			for round := int64(0); round < 40; round++ {
				off := (rng.Int64N(f.Size/piece/writers)*writers + w) * piece
				p := m.model[off : off+piece]
				fill(p, rng)
				if _, err := m.node().WriteAt(p, off); err != nil {
					t.Error(err)
				}
				got := make([]byte, piece)
				if _, err := m.node().ReadAt(got, off); err != nil || !bytes.Equal(got, p) {
					t.Errorf("what was written at %d is not read back: %v", off, err)
				}
				if round%8 == 0 {
					if err := m.node().Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	m.verify()
	m.reopen()
	m.verify()
}
