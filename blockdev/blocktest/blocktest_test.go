package blocktest_test

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

func ExampleRecorder() {
	disk := blocktest.NewRecorder(make([]byte, 512))
	disk.WriteAt([]byte("one"), 0)
	disk.Flush()
	flushed := disk.Position()
	disk.WriteAt([]byte("two"), 256)

	crashes, lost := 0, 0
	err := disk.Replay(blocktest.ReplayOptions{}, func(file *blocktest.Memory, durable int) error {
		crashes++
		if durable >= flushed && !bytes.HasPrefix(file.Bytes(), []byte("one")) {
			return errors.New("a flushed write is gone")
		}
		if durable >= flushed && file.Bytes()[256] == 0 {
			lost++
		}
		return nil
	})
	fmt.Println(crashes, lost, err)
	// Output: 4 1 <nil>
}

func TestReplayTearsAndReorders(t *testing.T) {
	r := blocktest.NewRecorder(make([]byte, 4096))
	for i := range 4 {
		if _, err := r.WriteAt(bytes.Repeat([]byte{1}, 1024), int64(i)*1024); err != nil {
			t.Fatal(err)
		}
	}
	var torn, reordered bool
	err := r.Replay(blocktest.ReplayOptions{Subsets: 32}, func(file *blocktest.Memory, durable int) error {
		if durable != 0 {
			t.Errorf("durable %d without a flush", durable)
		}
		b := file.Bytes()
		for i := 0; i < 4096; i += 1024 {
			torn = torn || b[i] != b[i+512]
			reordered = reordered || i > 0 && b[i] == 1 && b[i-512] == 0
		}
		return nil
	})
	if err != nil || !torn || !reordered {
		t.Errorf("torn %v, reordered %v, %v", torn, reordered, err)
	}
}

func TestFaultyCountsAndRecovers(t *testing.T) {
	f := blocktest.NewFaulty(blocktest.NewMemory(make([]byte, 1024)),
		blocktest.Fault{Op: blocktest.OpWrite, Nth: 2},
		blocktest.Fault{Op: blocktest.OpRead, Off: 512, Len: 1})
	for i, want := range []bool{false, true, false} {
		if _, err := f.WriteAt([]byte{1}, 0); errors.Is(err, syscall.EIO) != want {
			t.Errorf("write %d: %v", i, err)
		}
	}
	if _, err := f.ReadAt(make([]byte, 512), 0); err != nil {
		t.Error(err)
	}
	if _, err := f.ReadAt(make([]byte, 513), 0); err == nil {
		t.Error("a read over the bad place succeeded")
	}
	if n := f.Count(blocktest.OpWrite); n != 3 {
		t.Errorf("%d writes counted", n)
	}
	if e, err := f.Map(0, 1024); err != nil || e.Node != blockdev.Node(f) {
		t.Errorf("%+v, %v: data is not read through the faulty node", e, err)
	}
}

func TestMemoryHolesAndClones(t *testing.T) {
	m := blocktest.NewMemory(bytes.Repeat([]byte{7}, 3*4096))
	c := m.Clone()
	if err := m.WriteZeroes(4096, 4096, blockdev.ZeroMayUnmap); err != nil {
		t.Fatal(err)
	}
	if h := m.Holes(); len(h) != 1 || h[0] != [2]int64{4096, 8192} {
		t.Errorf("holes %v", h)
	}
	if _, err := m.WriteAt([]byte{1}, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(c.Bytes(), bytes.Repeat([]byte{7}, 3*4096)) {
		t.Error("a clone changed with its original")
	}
	if e, _ := m.Map(100, 3*4096-100); e.Kind != blockdev.ExtentData || e.Len != 3996 {
		t.Errorf("%+v", e)
	}
}
