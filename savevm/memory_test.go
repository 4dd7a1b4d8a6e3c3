package savevm_test

import (
	"runtime"
	"testing"

	"github.com/qmon/qmon/savevm"
)

// Saving and loading 512 MiB of RAM takes little memory besides it.
func TestMemoryDoesNotGrowWithRAM(t *testing.T) {
	if testing.Short() {
		t.Skip("half a gibibyte of RAM")
	}
	const ram, bound = 512 << 20, 24 << 20
	m := newToy(t, toyConfig{ramSize: ram})
	m.image("d0", newImage(t, "a.qcow2"))
	for off := 0; off < ram; off += 8 * 4096 {
		m.ram.Data[off+100] = byte(off>>15) | 1
	}
	m.set(1)
	var stats runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&stats)
	before, peak := stats.HeapAlloc, uint64(0)
	ctx := savevm.WithProgress(background, func(_, _ int64) {
		runtime.ReadMemStats(&stats)
		peak = max(peak, stats.HeapAlloc)
	})
	if err := savevm.SaveTag(ctx, m.Machine, "s"); err != nil {
		t.Fatal(err)
	}
	m.set(2)
	m.do(func() { clear(m.ram.Data[4096 : ram-4096]) })
	if err := savevm.Load(ctx, m.Machine, "s"); err != nil {
		t.Fatal(err)
	}
	if peak > before+bound {
		t.Errorf("heap grew from %d to %d MiB", before>>20, peak>>20)
	}
	m.expect(1)
	for off := 8 * 4096; off < ram; off += 8 * 4096 {
		if m.ram.Data[off+100] != byte(off>>15)|1 {
			t.Fatalf("RAM at %#x differs", off)
		}
	}
}
