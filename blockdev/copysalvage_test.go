package blockdev_test

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

func TestSalvageGivesUpSectors(t *testing.T) {
	content := bytes.Repeat([]byte{42}, 1<<20)
	unreadable := []int64{65536, 99 * sector}
	src := blocktest.NewFaulty(blocktest.NewMemory(content))
	for _, off := range unreadable {
		src.Inject(blocktest.Fault{Op: blocktest.OpRead, Off: off, Len: sector})
	}
	for _, off := range []int64{99 * sector, 512 << 10} {
		src.Inject(blocktest.Fault{Op: blocktest.OpMap, Off: off, Len: sector})
	}
	type finding struct {
		op  string
		off int64
	}
	var found []finding
	o := blockdev.CopyOptions{ChunkSize: 4096, Salvage: func(err error) {
		var e *blockdev.Error
		if !errors.As(err, &e) {
			t.Fatalf("told of %v", err)
		}
		found = append(found, finding{e.Op, e.Offset})
	}}
	dst := blocktest.NewMemory(make([]byte, len(content)))
	if err := blockdev.Copy(t.Context(), dst, src, o); err != nil {
		t.Fatal(err)
	}
	want := []finding{
		{blockdev.OpCopyMap, 99 * sector}, {blockdev.OpCopyRead, 99 * sector},
		{blockdev.OpCopyRead, 65536}, {blockdev.OpCopyMap, 512 << 10},
	}
	if !slices.Equal(found, want) {
		t.Errorf("told of %v, not %v", found, want)
	}
	for _, off := range unreadable {
		clear(content[off : off+sector])
	}
	if !bytes.Equal(dst.Bytes(), content) {
		t.Error("what could be read is not all there, or the rest is not zero")
	}
}
