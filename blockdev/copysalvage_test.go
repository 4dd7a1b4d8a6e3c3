package blockdev_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
)

// foreignContext is a context of a kind that package context does not know, so that each
// context made from it has a goroutine that watches it.
type foreignContext struct{ context.Context }

func (foreignContext) Done() <-chan struct{} { return make(chan struct{}) }
func (foreignContext) Value(any) any         { return nil }

func TestSalvageLeavesNothingBehind(t *testing.T) {
	before := goleak.IgnoreCurrent()
	src, dst := blocktest.NewMemory(make([]byte, 4096)), blocktest.NewMemory(make([]byte, 4096))
	if err := blockdev.Copy(foreignContext{t.Context()}, dst, src, blockdev.CopyOptions{Salvage: func(error) {}}); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t, before)
}

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
