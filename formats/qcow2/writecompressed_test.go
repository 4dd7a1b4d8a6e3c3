package qcow2

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// compressible is n bytes that deflate makes a fraction of.
func compressible(seed, n int) []byte {
	r := rand.New(rand.NewSource(int64(seed)))
	words := pattern(seed, 64)
	p := make([]byte, 0, n+64)
	for len(p) < n {
		at := r.Intn(48)
		p = append(p, words[at:at+1+r.Intn(15)]...)
	}
	return p[:n]
}

func TestCompressedClustersAreReadByQEMU(t *testing.T) {
	for _, kind := range []string{"zlib", "zstd"} {
		for _, cs := range []int{512, 4 << 10, 64 << 10, 2 << 20} {
			for _, width := range []string{"1", "16"} {
				t.Run(fmt.Sprint(kind, " ", cs, " ", width), func(t *testing.T) {
					if testing.Short() && cs > 64<<10 {
						t.Skip("takes the race detector long")
					}
					size := 9*cs + 1536
					m := create(t, int64(size), blockdev.Options{"compression_type": kind, "cluster_size": fmt.Sprint(cs), "refcount_bits": width})
					im := open(t, m, writable)
					want := make([]byte, size)
					for off := 0; off < size; off += cs {
						n := min(cs, size-off)
						if off/cs%4 == 3 {
							copy(want[off:], pattern(off, n)) // does not shrink
						} else {
							copy(want[off:], compressible(off, n))
						}
						if err := im.WriteCompressed(want[off:off+n], int64(off)); err != nil {
							t.Fatal(err)
						}
					}
					compareWith(t, im, want)
					checkClean(t, im)
					if err := im.Close(); err != nil {
						t.Fatal(err)
					}
					if m.Size()%sectorSize != 0 {
						t.Errorf("the file ends within a sector: %d", m.Size())
					}
					im = open(t, m, blockdev.Mode{})
					checkClean(t, im)
					agreeWithQEMU(t, save(t, m), want)
				})
			}
		}
	}
}

func TestCompressedClustersArePacked(t *testing.T) {
	m := create(t, 8<<20, nil)
	im := open(t, m, writable)
	data := compressible(1, 64<<10)
	for off := int64(0); off < 8<<20; off += 64 << 10 {
		if err := im.WriteCompressed(data, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	packed, err := im.deflaters.compress(compressionZlib, data)
	if err != nil || packed == nil {
		t.Fatal(err)
	}
	if most := int64(128*len(*packed) + 6*64<<10); m.Size() > most {
		t.Errorf("%d bytes, want at most %d", m.Size(), most)
	}
}

// TestCompressedWriteIsRefused: what has storage already, and what is no whole cluster.
func TestCompressedWriteIsRefused(t *testing.T) {
	im := open(t, create(t, 1<<20, nil), writable)
	data := compressible(1, 64<<10)
	if err := im.WriteCompressed(data, 0); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		n, off int64
		kind   error
	}{
		{64 << 10, 0, blockdev.ErrInvalid},
		{64 << 10, 512, blockdev.ErrInvalid},
		{512, 64 << 10, blockdev.ErrInvalid},
		{0, 0, blockdev.ErrInvalid},
		{64 << 10, 1 << 20, blockdev.ErrRange},
	} {
		if err := im.WriteCompressed(data[:c.n], c.off); !errors.Is(err, c.kind) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	checkClean(t, im)
	ro := open(t, create(t, 1<<20, nil), blockdev.Mode{})
	if err := ro.WriteCompressed(data, 0); !errors.Is(err, blockdev.ErrReadOnly) {
		t.Error(err)
	}
}

// TestCompressedWritesRunBesideOthers: many at once, with overwrites, discards and flushes
// that free what they share clusters with.
func TestCompressedWritesRunBesideOthers(t *testing.T) {
	const cs, count = 4 << 10, 256
	m := create(t, cs*count, blockdev.Options{"cluster_size": fmt.Sprint(cs)})
	im := open(t, m, writable)
	want := make([]byte, cs*count)
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := w; i < count; i += 8 {
				part := want[i*cs : (i+1)*cs]
				copy(part, compressible(i, cs))
				err := im.WriteCompressed(part, int64(i*cs))
				switch i / 8 % 4 {
				case 1:
					copy(part, pattern(i, 100))
					_, werr := im.WriteAt(part[:100], int64(i*cs))
					err = errors.Join(err, werr)
				case 2:
					clear(part)
					err = errors.Join(err, im.Discard(int64(i*cs), cs), im.Flush())
				}
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	wg.Wait()
	compareWith(t, im, want)
	checkClean(t, im)
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	agreeWithQEMU(t, save(t, m), want)
}

// TestCopyCompresses converts in parallel, zeroes as holes.
func TestCopyCompresses(t *testing.T) {
	want := append(compressible(1, 700<<10), make([]byte, 500<<10)...)
	copy(want[1100<<10:], pattern(3, 512))
	for _, inOrder := range []bool{true, false} {
		m := create(t, int64(len(want)), nil)
		im := open(t, m, writable)
		err := blockdev.Copy(context.Background(), im, blocktest.NewMemory(want), blockdev.CopyOptions{Compress: true, InOrder: inOrder})
		if err != nil {
			t.Fatal(err)
		}
		compareWith(t, im, want)
		if e, err := im.Map(800<<10, 1); err != nil || e.Kind != blockdev.ExtentZero && e.Kind != blockdev.ExtentUnallocated {
			t.Errorf("zeroes are stored: %+v, %v", e, err)
		}
		if err := im.Close(); err != nil {
			t.Fatal(err)
		}
		peer.Need(t, "qemu-img")
		agreeWithQEMU(t, save(t, m), want)
	}
}

// TestFailedCompressedWriteLeaksNothing: the data cannot be written.
func TestFailedCompressedWriteLeaksNothing(t *testing.T) {
	m := create(t, 1<<20, nil)
	im := open(t, m, writable)
	if err := im.WriteCompressed(compressible(1, 64<<10), 0); err != nil {
		t.Fatal(err)
	}
	im.file = failingWrites{m}
	if err := im.WriteCompressed(compressible(2, 64<<10), 64<<10); !errors.Is(err, errFailing) {
		t.Fatal(err)
	}
	im.file = m
	checkClean(t, im)
	if err := im.WriteCompressed(compressible(2, 64<<10), 64<<10); err != nil {
		t.Fatal(err)
	}
	checkClean(t, im)
	compareWith(t, im, append(append(compressible(1, 64<<10), compressible(2, 64<<10)...), bytes.Repeat([]byte{0}, 1<<20-128<<10)...))
}

var errFailing = errors.New("cannot be written")

type failingWrites struct{ blockdev.Node }

func (failingWrites) WriteAt([]byte, int64) (int, error) { return 0, errFailing }
