package qemuio

import (
	"testing"
	"unsafe"
)

// TestMisalignedBuffers begin where O_DIRECT takes none, and are as long as asked for.
func TestMisalignedBuffers(t *testing.T) {
	e := New(nil, Config{Misaligned: true})
	for _, n := range []int64{1, 512, 4096, 1 << 20} {
		b := e.buffer(n)
		if past := uintptr(unsafe.Pointer(unsafe.SliceData(b))) % 512; int64(len(b)) != n || past != misalignment {
			t.Errorf("%d bytes: %d, %d behind a sector's border", n, len(b), past)
		}
	}
}
