package blockdev_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// layers is a node whose every sector is stored as a table says, over a file and a
// backing node: the simplest format there can be.
type layers struct {
	blocktest.Memory
	file    *blocktest.Memory
	kinds   []blockdev.ExtentKind // by sector
	hosts   []int64               // where data lies
	backing blockdev.Node
}

const sector = 512

func (l *layers) Size() int64                                { return int64(len(l.kinds)) * sector }
func (l *layers) ReadAt(p []byte, off int64) (int, error)    { return blockdev.Read(l, p, off) }
func (l *layers) Backing() blockdev.Node                     { return l.backing }
func (l *layers) SetBacking(n blockdev.Node)                 { l.backing = n }
func (l *layers) BackingReference() (r blockdev.Reference)   { return r }
func (l *layers) ChangeBackingReference(_, _ string) error   { return blockdev.ErrNotSupported }
func (l *layers) ReadOpaque(p []byte, off int64) (err error) { _, err = l.file.ReadAt(p, off); return }

func (l *layers) Map(off, n int64) (blockdev.Extent, error) {
	i := off / sector
	e := blockdev.Extent{Kind: l.kinds[i], Len: min(n, sector-off%sector)}
	if e.Kind == blockdev.ExtentData {
		e.Node, e.Host = l.file, l.hosts[i]+off%sector
	}
	return e, nil
}

// randomLayers makes a chain of depth nodes and what reading it must give.
func randomLayers(rng *rand.Rand, depth int) (*layers, []byte) {
	sectors := 1 + rng.IntN(200)
	l := &layers{file: &blocktest.Memory{}, kinds: make([]blockdev.ExtentKind, sectors), hosts: make([]int64, sectors)}
	content := make([]byte, 2*sectors*sector)
	for i := range content {
		content[i] = byte(rng.IntN(256))
	}
	if _, err := l.file.WriteAt(content, 0); err != nil {
		panic(err)
	}
	var below []byte
	if depth > 1 {
		l.backing, below = randomLayers(rng, depth-1)
	}
	want := make([]byte, sectors*sector)
	for i := range l.kinds {
		l.kinds[i] = blockdev.ExtentKind(1 + rng.IntN(4))
		l.hosts[i] = int64(sectors+i) * sector
		if i > 0 && rng.IntN(3) > 0 {
			l.kinds[i] = l.kinds[i-1]
		}
		at := want[i*sector : (i+1)*sector]
		switch l.kinds[i] {
		case blockdev.ExtentData:
			copy(at, content[l.hosts[i]:])
		case blockdev.ExtentOpaque:
			copy(at, content[i*sector:])
		case blockdev.ExtentUnallocated:
			copy(at, below[min(len(below), i*sector):])
		}
	}
	return l, want
}

func TestReadAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		l, want := randomLayers(rng, 1+rng.IntN(4))
		for range 10 {
			off := rng.IntN(len(want) + 1)
			p := make([]byte, rng.IntN(len(want)-off+1))
			if n, err := l.ReadAt(p, int64(off)); n != len(p) || err != nil || !bytes.Equal(p, want[off:off+len(p)]) {
				t.Fatalf("read of %d at %d: %d, %v", len(p), off, n, err)
			}
		}
	})
}

func TestBlockStatusTilesTheDisk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		l, want := randomLayers(rng, 1+rng.IntN(4))
		got := make([]byte, len(want))
		for off := int64(0); off < l.Size(); {
			s, err := blockdev.BlockStatus(l, off, l.Size()-off, nil)
			if err != nil || s.Len < 1 {
				t.Fatal(s, err)
			}
			p := got[off : off+s.Len]
			switch s.Kind {
			case blockdev.ExtentData:
				_, err = s.Node.ReadAt(p, s.Host)
			case blockdev.ExtentOpaque:
				_, err = l.ReadAt(p, off)
			}
			if err != nil {
				t.Fatal(err)
			}
			off += s.Len
		}
		if !bytes.Equal(got, want) {
			t.Fatal("what the extents say is not what the disk holds")
		}
	})
}

func TestBlockStatusCoalescesByHostOffset(t *testing.T) {
	kinds := []blockdev.ExtentKind{1, 1, 1, 2, 2, 3, 3}
	l := &layers{file: blocktest.NewMemory(make([]byte, 1<<20)), kinds: kinds, hosts: []int64{0, sector, 4 * sector, 0, 0, 0, 0}}
	var lengths []int64
	for off := int64(0); off < l.Size(); {
		s, err := blockdev.BlockStatus(l, off, l.Size()-off, nil)
		if err != nil {
			t.Fatal(err)
		}
		lengths = append(lengths, s.Len/sector)
		off += s.Len
	}
	want := []int64{2, 1, 2, 2}
	for i := range want {
		if len(lengths) != len(want) || lengths[i] != want[i] {
			t.Fatalf("%v, not %v sectors", lengths, want)
		}
	}
}

func TestCopyAgreesWithModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rng := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 2))
		l, want := randomLayers(rng, 1+rng.IntN(4))
		o := blockdev.CopyOptions{
			Workers:      1 + rng.IntN(4),
			ChunkSize:    int64(1+rng.IntN(20)) * sector,
			DetectZeroes: int64(rng.IntN(3)) * 4096,
			TargetIsZero: rng.IntN(2) == 0,
		}
		start := make([]byte, len(want))
		if !o.TargetIsZero {
			start = bytes.Repeat([]byte{0xee}, len(want))
		}
		var last int64
		o.Progress = func(done, total int64) {
			if done <= last || total != l.Size() {
				t.Errorf("progress %d of %d after %d", done, total, last)
			}
			last = done
		}
		if rng.IntN(3) == 0 {
			o.Base, o.TargetIsZero = l.backing, false
			copy(start, want)
			for i, k := range l.kinds {
				if k != blockdev.ExtentUnallocated {
					clear(start[i*sector : (i+1)*sector])
				}
			}
		}
		dst := blocktest.NewMemory(start)
		err := blockdev.Copy(context.Background(), dst, l, o)
		if o.Base == nil && (err != nil || !bytes.Equal(dst.Bytes(), want)) || last != l.Size() {
			t.Fatalf("%+v: the copy differs, %d of %d: %v", o, last, l.Size(), err)
		}
		if o.Base != nil && !bytes.Equal(dst.Bytes(), want) {
			t.Fatalf("%+v: the copy of one layer differs: %v", o, err)
		}
	})
}

// TestDataBehindTheEndOfItsFile: an image may have reserved more than its file has yet.
func TestDataBehindTheEndOfItsFile(t *testing.T) {
	kinds := []blockdev.ExtentKind{blockdev.ExtentData, blockdev.ExtentData}
	l := &layers{file: blocktest.NewMemory(bytes.Repeat([]byte{5}, 700)), kinds: kinds, hosts: []int64{0, sector}}
	want := append(bytes.Repeat([]byte{5}, 700), make([]byte, 2*sector-700)...)
	got := make([]byte, 2*sector)
	if _, err := l.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read: %v", err)
	}
	dst := blocktest.NewMemory(make([]byte, 2*sector))
	if err := blockdev.Copy(t.Context(), dst, l, blockdev.CopyOptions{}); err != nil || !bytes.Equal(dst.Bytes(), want) {
		t.Errorf("copy: %v", err)
	}
}

func TestCopyStopsAtTheFirstError(t *testing.T) {
	src := blocktest.NewFaulty(blocktest.NewMemory(bytes.Repeat([]byte{1}, 1<<20)), blocktest.Fault{Op: blocktest.OpRead, Nth: 3})
	err := blockdev.Copy(t.Context(), blocktest.NewMemory(make([]byte, 1<<20)), src, blockdev.CopyOptions{ChunkSize: 4096, Workers: 2})
	if err == nil || errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	if n := src.Count(blocktest.OpRead); n > 10 {
		t.Errorf("%d reads after the error", n)
	}
}

func TestCopyStopsWhenCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	o := blockdev.CopyOptions{ChunkSize: 4096, Workers: 1, Progress: func(int64, int64) { cancel() }}
	src := blocktest.NewMemory(bytes.Repeat([]byte{1}, 1<<20))
	if err := blockdev.Copy(ctx, blocktest.NewMemory(make([]byte, 1<<20)), src, o); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func TestCopyTellsOfItsProgressInSteps(t *testing.T) {
	var told []int64
	o := blockdev.CopyOptions{
		ChunkSize: 1000, Workers: 3, InOrder: true, ProgressStep: 3000,
		Progress: func(done, _ int64) { told = append(told, done) },
	}
	src := blocktest.NewMemory(bytes.Repeat([]byte{1}, 7500))
	if err := blockdev.Copy(t.Context(), blocktest.NewMemory(make([]byte, 7500)), src, o); err != nil {
		t.Fatal(err)
	}
	if want := []int64{3000, 6000, 7500}; !slices.Equal(told, want) {
		t.Errorf("told of %d, want %d", told, want)
	}
}

func TestCopyNeedsRoom(t *testing.T) {
	src := blocktest.NewMemory(make([]byte, 1024))
	if err := blockdev.Copy(t.Context(), &blocktest.Memory{}, src, blockdev.CopyOptions{}); !errors.Is(err, blockdev.ErrRange) {
		t.Error(err)
	}
}

// clusters collects what is written compressed.
type clusters struct {
	blocktest.Memory
	mu   sync.Mutex
	offs map[int64]int
}

func (c *clusters) Info() (blockdev.ImageInfo, error) {
	return blockdev.ImageInfo{ClusterSize: 4096}, nil
}

func (c *clusters) WriteCompressed(p []byte, off int64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.offs[off] = len(p)
	_, err := c.WriteAt(p, off)
	return err
}

func TestCopyCompressesWholeClusters(t *testing.T) {
	for seed := range uint64(50) {
		l, want := randomLayers(rand.New(rand.NewPCG(seed, 3)), 2)
		dst := &clusters{offs: map[int64]int{}}
		if err := dst.Resize(l.Size(), blockdev.ResizeOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := blockdev.Copy(t.Context(), dst, l, blockdev.CopyOptions{Compress: true, TargetIsZero: true}); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(dst.Bytes(), want) {
			t.Fatalf("seed %d: the copy differs", seed)
		}
		for off, n := range dst.offs {
			if off%4096 != 0 || int64(n) != min(4096, l.Size()-off) {
				t.Errorf("seed %d: %d bytes at %d are no cluster", seed, n, off)
			}
		}
	}
}

func TestIsZero(t *testing.T) {
	for _, n := range []int{0, 1, 7, 4095, 4096, 4097, 10000} {
		p := make([]byte, n)
		if !blockdev.IsZero(p) {
			t.Errorf("%d zeroes are not zero", n)
		}
		for _, at := range []int{0, n / 2, n - 1} {
			if n > 0 {
				p[at] = 1
				if blockdev.IsZero(p) {
					t.Errorf("a one at %d of %d is not seen", at, n)
				}
				p[at] = 0
			}
		}
	}
}

// plain hides everything optional that a node can do.
type plain struct{ blockdev.Node }

func TestFallbacks(t *testing.T) {
	m := blocktest.NewMemory(bytes.Repeat([]byte{1}, 3<<20))
	if err := blockdev.WriteZeroes(plain{m}, 1, 2<<20, 0); err != nil {
		t.Fatal(err)
	}
	if b := m.Bytes(); b[0] != 1 || !blockdev.IsZero(b[1:1+2<<20]) || b[1+2<<20] != 1 {
		t.Error("other bytes than those asked for are zero")
	}
	if err := blockdev.WriteZeroes(plain{m}, 0, 1, blockdev.ZeroNoFallback); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("without fallback: %v", err)
	}
	if err := blockdev.Discard(plain{m}, 0, 10); err != nil {
		t.Error(err)
	}
	if err := blockdev.Resize(plain{m}, 10, blockdev.ResizeOptions{}); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Error(err)
	}
	if err := blockdev.Resize(m, 10, blockdev.ResizeOptions{}); !errors.Is(err, blockdev.ErrInvalid) {
		t.Errorf("shrinking unasked: %v", err)
	}
	if err := blockdev.Resize(m, -1, blockdev.ResizeOptions{Shrink: true}); !errors.Is(err, blockdev.ErrLimit) {
		t.Errorf("a negative size: %v", err)
	}
	if l := blockdev.LimitsOf(m); l.Alignment != 1 || l.ZeroAlignment != 1 {
		t.Errorf("%+v", l)
	}
}

// host copies ranges until it has done so often enough.
type host struct {
	*blocktest.Memory
	copies int
}

func (h *host) CopyRange(src blockdev.Node, from, off, n int64) error {
	if h.copies == 0 {
		return blockdev.Errorf(blockdev.ErrNotSupported, "copy", "", "enough")
	}
	h.copies--
	buf := make([]byte, n)
	if _, err := src.ReadAt(buf, from); err != nil {
		return err
	}
	_, err := h.WriteAt(buf, off)
	return err
}

func TestCopyByTheHost(t *testing.T) {
	want := make([]byte, 64<<10)
	for i := range want {
		want[i] = byte(i / 100)
	}
	for _, copies := range []int{0, 3, 100} {
		for _, inOrder := range []bool{false, true} {
			dst := &host{blocktest.NewMemory(make([]byte, len(want))), copies}
			src := blocktest.NewFaulty(blocktest.NewMemory(want))
			o := blockdev.CopyOptions{Offload: true, ChunkSize: 4096, Workers: 1, InOrder: inOrder}
			if err := blockdev.Copy(t.Context(), dst, src, o); err != nil || !bytes.Equal(dst.Bytes(), want) {
				t.Errorf("%d copies, in order %v: %v", copies, inOrder, err)
			}
			if done := copies - dst.copies; done != min(copies, 16) {
				t.Errorf("%d of %d pieces are copied by the host", done, copies)
			}
		}
	}
}
