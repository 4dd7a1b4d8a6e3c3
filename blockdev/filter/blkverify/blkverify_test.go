package blkverify_test

import (
	"errors"
	"syscall"
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

// TestWhatChangesTheDiskReachesBoth, and where one cannot follow the request fails.
func TestWhatChangesTheDiskReachesBoth(t *testing.T) {
	for name, c := range map[string]struct {
		do   func(n blockdev.Node) error
		op   blocktest.Op
		want string
	}{
		"write":   {func(n blockdev.Node) error { _, err := n.WriteAt([]byte("XY"), 3); return err }, blocktest.OpWrite, "012XY567"},
		"zeroes":  {func(n blockdev.Node) error { return blockdev.WriteZeroes(n, 6, 2, 0) }, blocktest.OpZero, "012345\x00\x00"},
		"longer":  {func(n blockdev.Node) error { return blockdev.Resize(n, 9, blockdev.ResizeOptions{}) }, blocktest.OpResize, "01234567\x00"},
		"shorter": {func(n blockdev.Node) error { return blockdev.Resize(n, 2, blockdev.ResizeOptions{Shrink: true}) }, blocktest.OpResize, "01"},
		"discard": {func(n blockdev.Node) error { return blockdev.Discard(n, 0, 8) }, 0, "01234567"}, // reaches none
		"flush":   {blockdev.Node.Flush, blocktest.OpFlush, "01234567"},
	} {
		for _, failing := range []string{"", "raw", "test"} {
			var g blockdev.Graph
			disks := map[string]*blocktest.Memory{}
			o := blockdev.Options{"driver": "blkverify"}
			for _, child := range []string{"raw", "test"} {
				disks[child] = blocktest.NewMemory([]byte("01234567"))
				f := blocktest.NewFaulty(disks[child])
				if child == failing && c.op != 0 {
					f.Inject(blocktest.Fault{Op: c.op})
				}
				v, err := g.Add(f, child, blockdev.Mode{Writable: true})
				if err != nil {
					t.Fatal(err)
				}
				o[child] = v.Name
			}
			v, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
			if err != nil {
				t.Fatal(err)
			}
			err = c.do(v.Node)
			if fails := failing != "" && c.op != 0; fails != errors.Is(err, syscall.EIO) || !fails && err != nil {
				t.Errorf("%s, %q fails: %v", name, failing, err)
			}
			if failing != "" {
				continue
			}
			for child, d := range disks {
				if got := string(d.Bytes()); got != c.want {
					t.Errorf("%s: %s holds %q", name, child, got)
				}
			}
		}
	}
}
