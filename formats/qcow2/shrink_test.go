package qcow2

import (
	"bytes"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
)

// TestShrinkingCutsTheFile, at what is in use: data, or metadata that was made later.
func TestShrinkingCutsTheFile(t *testing.T) {
	m := create(t, 4<<20, blockdev.Options{"cluster_size": "4k"})
	im := open(t, m, writable)
	data := pattern(1, 4<<20)
	if _, err := im.WriteAt(data, 0); err != nil {
		t.Fatal(err)
	}
	for _, size := range []int64{3 << 20, 1 << 20, 100 << 10, 512} {
		if err := im.Resize(size, blockdev.ResizeOptions{Shrink: true}); err != nil {
			t.Fatal(err)
		}
		compareWith(t, im, data[:size])
		checkClean(t, im)
		if limit := size + 64<<10; m.Size() > limit {
			t.Errorf("the file has %d bytes for a disk of %d", m.Size(), size)
		}
	}
	// What was freed is used again.
	if err := im.Resize(1<<20, blockdev.ResizeOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := im.WriteAt(data[:1<<20], 0); err != nil {
		t.Fatal(err)
	}
	checkClean(t, im)
	if err := im.Close(); err != nil {
		t.Fatal(err)
	}
	compareWith(t, open(t, m, writable), data[:1<<20])
	peer.Need(t, "qemu-img")
	peer.Run(t, "qemu-img", "check", save(t, m))
}

// TestGrowingOverABackingFileTakesLittleMemory: the tables that hide the backing file are
// written as they are made.
func TestGrowingOverABackingFileTakesLittleMemory(t *testing.T) {
	const size = 8 << 20
	m := create(t, 512, blockdev.Options{"cluster_size": "512"})
	im, err := openWith(m, blockdev.Options{"l2-cache-size": "0"})
	if err != nil {
		t.Fatal(err)
	}
	im.SetBacking(blocktest.NewMemory(pattern(1, size)))
	if err := im.Resize(size, blockdev.ResizeOptions{}); err != nil {
		t.Fatal(err)
	}
	if n := len(im.l2Cache.ring); n > im.l2Cache.max {
		t.Errorf("%d tables are cached, not %d", n, im.l2Cache.max)
	}
	b := make([]byte, size-512)
	if _, err := im.ReadAt(b, 512); err != nil || !bytes.Equal(b, make([]byte, size-512)) {
		t.Errorf("what was hidden is read: %v", err)
	}
	checkClean(t, im)
}
