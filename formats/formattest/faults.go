package formattest

import (
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// faultSteps is how many requests to the file are failed, one in each run.
const faultSteps = 60

// testFaults fails one request below after the other. What was written before must stay,
// the error must reach the caller, and the image must be sound afterwards.
func testFaults(t *testing.T, f Format) {
	for nth := 1; nth <= faultSteps; nth++ {
		m := &image{t: t, format: f, model: make([]byte, f.Size), rng: rand.New(rand.NewPCG(uint64(nth), 9))}
		faulty := blocktest.NewFaulty(f.create(t))
		m.file = faulty
		m.reopen()
		m.define(0)
		m.write()
		faulty.Inject(blocktest.Fault{Op: blocktest.OpAny &^ blocktest.OpMap, Nth: nth})
		for range 12 {
			m.tryWrite()
		}
		if err := m.node().Flush(); err != nil && !errors.Is(err, syscall.EIO) {
			t.Errorf("fault %d: flush: %v", nth, err)
		}
		faulty.Clear()
		m.verify()
		m.reopen()
		m.verify()
		m.close()
	}
}

// tryWrite writes somewhere. A write that fails leaves what was there, what was to be, or
// any mixture, and the model takes over what it finds.
func (m *image) tryWrite() {
	m.t.Helper()
	off, n := m.somewhere()
	old := append([]byte(nil), m.model[off:off+n]...)
	p := make([]byte, n)
	fill(p, m.rng)
	_, err := m.node().WriteAt(p, off)
	if err == nil {
		copy(m.model[off:], p)
		return
	}
	if !errors.Is(err, syscall.EIO) {
		m.t.Errorf("the fault became %v", err)
	}
	got := m.model[off : off+n]
	if _, err := m.node().ReadAt(got, off); err != nil {
		m.t.Fatal(err)
	}
	for i := range got {
		if got[i] != old[i] && got[i] != p[i] {
			m.t.Fatalf("byte %d is %#x, neither %#x nor %#x", off+int64(i), got[i], old[i], p[i])
		}
	}
}

// hostileReads is how much of a damaged image is read.
const hostileReads = 1 << 20

// testHostile opens truncated and damaged images: an error is fine, a panic is not.
func testHostile(t *testing.T, f Format) {
	m := f.fresh(t)
	for range 10 {
		m.write()
	}
	m.close()
	whole := m.file.(*blocktest.Memory)
	for _, n := range []int64{0, 1, 3, 4, 8, 71, 72, 100, 103, 104, 511, 512, 4096, 65536, 65537, whole.Size() - 1} {
		file := whole.Clone()
		if n < file.Size() {
			if err := file.Resize(n, blockdev.ResizeOptions{Shrink: true}); err != nil {
				t.Fatal(err)
			}
		}
		f.poke(file)
	}
	rng := rand.New(rand.NewPCG(4, 4))
	for range 500 {
		file := whole.Clone()
		for range 1 + rng.IntN(4) {
			at := rng.Int64N(min(file.Size(), int64(64)<<rng.IntN(13)))
			b := []byte{0, 1, 0x7f, 0x80, 0xff, byte(rng.IntN(256))}[rng.IntN(6)]
			if _, err := file.WriteAt([]byte{b}, at); err != nil {
				t.Fatal(err)
			}
		}
		f.poke(file)
	}
}

// poke uses an image of which nothing is expected but that it comes back.
func (f Format) poke(file *blocktest.Memory) {
	v, err := f.open(file, true)
	if err != nil {
		return
	}
	n := min(v.Node.Size(), hostileReads)
	_, _ = v.Node.ReadAt(make([]byte, n), 0)
	_, _ = v.Node.WriteAt(make([]byte, min(n, 1000)), n/2)
	_, _ = v.Node.Map(0, n)
	if s, ok := v.Node.(blockdev.Snapshotter); ok {
		_, _ = s.Snapshots()
	}
	_ = v.Unref()
}
