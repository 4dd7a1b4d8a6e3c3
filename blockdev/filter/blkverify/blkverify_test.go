package blkverify_test

import (
	"errors"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/blockdev/filter/blkverify"
)

func TestADifferenceIsFound(t *testing.T) {
	var g blockdev.Graph
	raw, test := blocktest.NewMemory([]byte("the same")), blocktest.NewMemory([]byte("the same"))
	for name, m := range map[string]*blocktest.Memory{"a": raw, "b": test} {
		if _, err := g.Add(m, name, blockdev.Mode{Writable: true}); err != nil {
			t.Fatal(err)
		}
	}
	o := blockdev.Options{"driver": "blkverify", "raw": "a", "test": "b"}
	v, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, 8)
	if _, err := v.Node.ReadAt(p, 0); err != nil || string(p) != "the same" {
		t.Errorf("%q, %v", p, err)
	}
	if _, err := v.Node.WriteAt([]byte("both"), 0); err != nil {
		t.Fatal(err)
	}
	if string(raw.Bytes()) != "bothsame" || string(test.Bytes()) != "bothsame" {
		t.Errorf("after a write: %q and %q", raw.Bytes(), test.Bytes())
	}
	if _, err := test.WriteAt([]byte("!"), 6); err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.ReadAt(p[:4], 0); err != nil {
		t.Errorf("what is the same can be read: %v", err)
	}
	_, err = v.Node.ReadAt(p, 0)
	if want := "blkverify: read offset=0 bytes=8 contents mismatch at offset 6"; !errors.Is(err, blockdev.ErrMismatch) || blockdev.Message(err) != want {
		t.Errorf("%v", err)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}
