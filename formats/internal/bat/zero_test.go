package bat

import (
	"bytes"
	"encoding/binary"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// newOverlay is an image of so many blocks over a backing node, whose table is at the
// beginning of the file: 0 for nothing, 1 for zeroes, else where the block is.
func newOverlay(blocks, blockSize int64, backing blockdev.Node) Overlay {
	o := Overlay{New(Config{
		File: &blocktest.Memory{}, Mode: blockdev.Mode{Writable: true}, Size: blocks * blockSize, BlockSize: blockSize,
		Align: blockSize, End: blocks * 8, Zeroes: true,
		Table: Table{
			Entries: blocks, Width: 8, Order: binary.LittleEndian,
			Decode: func(e uint64) (Block, error) {
				switch e {
				case 0:
					return Block{}, nil
				case 1:
					return Block{Kind: Zero}, nil
				}
				return Block{Kind: Data, Host: int64(e)}, nil
			},
			Encode: func(b Block) uint64 {
				if b.Kind == Zero {
					return 1
				}
				return uint64(b.Host)
			},
		},
	})}
	o.SetBacking(backing)
	return o
}

// TestZeroesOfAHugeDisk: a request for all of a disk does not take the memory of all of its
// table.
func TestZeroesOfAHugeDisk(t *testing.T) {
	o := newOverlay(6<<20, 512, blocktest.NewMemory([]byte{1}))
	if err := o.WriteZeroes(0, o.Size(), 0); err != nil {
		t.Fatal(err)
	}
	if most := 2*maxCached + maxDirty; o.tables.bytes > most {
		t.Errorf("%d bytes of the table are in memory, more than %d", o.tables.bytes, most)
	}
	if e, err := o.Map(0, o.Size()); err != nil || e.Kind != blockdev.ExtentZero || e.Len != o.Size() {
		t.Errorf("%+v, %v", e, err)
	}
}

// TestZeroesBesideAWrite: a block that somebody stores while zeroes are on their way to it
// gets them.
func TestZeroesBesideAWrite(t *testing.T) {
	const blockSize = 4096
	old := bytes.Repeat([]byte{'p'}, 3*blockSize)
	o := newOverlay(3, blockSize, blocktest.NewMemory(old))
	unlock := o.busy.Lock(1, 2, true)
	done := make(chan error)
	go func() { done <- o.WriteZeroes(0, o.Size(), 0) }()
	time.Sleep(50 * time.Millisecond) // it has seen that there is no block, and waits
	r, err := o.reserve(1, 1)
	if err == nil {
		err = o.fill(r, []byte{'n'}, blockSize)
	}
	if err == nil {
		err = o.link(1, r)
	}
	unlock()
	if err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	got := make([]byte, o.Size())
	if _, err := o.ReadAt(got, 0); err != nil || !blockdev.IsZero(got) {
		t.Errorf("not zero at %d, %v", bytes.IndexFunc(got, func(r rune) bool { return r != 0 }), err)
	}
}
