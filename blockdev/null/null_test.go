package null_test

import (
	"errors"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/null"
)

func TestNullDisks(t *testing.T) {
	for _, driver := range []string{"null-co", "null-aio"} {
		for zeroes, kind := range map[string]blockdev.ExtentKind{"on": blockdev.ExtentZero, "off": blockdev.ExtentData} {
			var g blockdev.Graph
			o := blockdev.Options{"driver": driver, "size": "1M", "read-zeroes": zeroes, "latency-ns": "1"}
			v, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := v.Node.WriteAt([]byte("gone"), 5); err != nil {
				t.Error(err)
			}
			p := []byte("data")
			if _, err := v.Node.ReadAt(p, 5); err != nil || !blockdev.IsZero(p) {
				t.Errorf("read %q, %v", p, err)
			}
			if _, err := v.Node.ReadAt(p, 1<<20-3); !errors.Is(err, blockdev.ErrRange) {
				t.Errorf("read past the end: %v", err)
			}
			if e, err := v.Node.Map(0, 1<<20); err != nil || e.Kind != kind || e.Len != 1<<20 {
				t.Errorf("read-zeroes=%s: %+v, %v", zeroes, e, err)
			}
			if err := errors.Join(v.Node.Flush(), blockdev.Discard(v.Node, 0, 1), blockdev.WriteZeroes(v.Node, 0, 1, 0), v.Unref()); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestDefaultSizeIsQEMUs(t *testing.T) {
	var g blockdev.Graph
	v, err := g.Open(t.Context(), "null-co://", blockdev.OpenOptions{Driver: "null-co"})
	if err != nil {
		t.Fatal(err)
	}
	if size := v.Node.Size(); size != 1<<30 {
		t.Errorf("%d bytes", size)
	}
	if err := v.Unref(); err != nil {
		t.Error(err)
	}
}
