package preallocate_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"pgregory.net/rapid"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	_ "github.com/qmon/qmon/blockdev/file"
	_ "github.com/qmon/qmon/blockdev/filter/preallocate"
)

func TestTheFileGrowsInLargeStepsAndIsCutAtTheEnd(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	if err := os.WriteFile(name, []byte("begin"), 0o600); err != nil {
		t.Fatal(err)
	}
	var g blockdev.Graph
	o := blockdev.Options{"driver": "preallocate", "file.filename": name, "prealloc-align": "64k", "prealloc-size": "1M"}
	v, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := v.Node.WriteAt([]byte("more"), 5); err != nil {
		t.Fatal(err)
	}
	if size := v.Node.Size(); size != 9 {
		t.Errorf("the disk has %d bytes", size)
	}
	size := func() int64 {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		return info.Size()
	}
	if got := size(); got != 1<<20+64<<10 {
		t.Errorf("the file has %d bytes", got)
	}
	if err := v.Unref(); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "beginmore" {
		t.Errorf("the closed file holds %d bytes, %v", len(got), err)
	}
}

// TestTheDiskIsAsWithoutTheFilter, whatever is asked of it, and so is the file that is left.
func TestTheDiskIsAsWithoutTheFilter(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	rapid.Check(t, func(r *rapid.T) {
		model := bytes.Repeat([]byte{5}, rapid.IntRange(0, 5000).Draw(r, "size"))
		if err := os.WriteFile(name, model, 0o600); err != nil {
			r.Fatal(err)
		}
		var g blockdev.Graph
		v, err := g.OpenDescription(t.Context(), blockdev.Options{
			"driver": "preallocate", "file.filename": name,
			"prealloc-align": "4k", "prealloc-size": rapid.SampledFrom([]string{"0", "1000", "16k"}).Draw(r, "more"),
		}, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
		if err != nil {
			r.Fatal(err)
		}
		for i := range rapid.IntRange(1, 20).Draw(r, "requests") {
			off, n := rapid.IntRange(0, 20000).Draw(r, "off"), rapid.IntRange(1, 9000).Draw(r, "length")
			longer := append(model, make([]byte, max(0, off+n-len(model)))...)
			var err error
			switch rapid.SampledFrom([]string{"write", "zeroes", "resize", "read-only"}).Draw(r, "kind") {
			case "write":
				model = longer
				copy(model[off:off+n], bytes.Repeat([]byte{byte(i)}, n))
				_, err = v.Node.WriteAt(model[off:off+n], int64(off))
			case "zeroes":
				model = longer
				clear(model[off : off+n])
				err = blockdev.WriteZeroes(v.Node, int64(off), int64(n), 0)
			case "resize":
				model = longer[:off]
				err = blockdev.Resize(v.Node, int64(off), blockdev.ResizeOptions{Shrink: true})
			default:
				err = errors.Join(v.Node.(blockdev.Reopener).ReopenWritable(false), v.Node.(blockdev.Reopener).ReopenWritable(true))
				if file, rerr := os.ReadFile(name); rerr != nil || !bytes.Equal(file, model) {
					r.Fatalf("read-only, the file has %d bytes, the disk %d: %v", len(file), len(model), rerr)
				}
			}
			if err != nil {
				r.Fatal(err)
			}
			got := make([]byte, len(model))
			if _, err := v.Node.ReadAt(got, 0); err != nil || v.Node.Size() != int64(len(model)) || !bytes.Equal(got, model) {
				r.Fatalf("the disk has %d bytes, not %d, or differs: %v", v.Node.Size(), len(model), err)
			}
		}
		if err := v.Unref(); err != nil {
			r.Fatal(err)
		}
		if file, err := os.ReadFile(name); err != nil || !bytes.Equal(file, model) {
			r.Fatalf("the closed file has %d bytes, the disk had %d: %v", len(file), len(model), err)
		}
	})
}

// TestAFailedWriteAddsNothing: the disk ends where it did before, and can be read.
func TestAFailedWriteAddsNothing(t *testing.T) {
	for _, fault := range []blocktest.Op{blocktest.OpWrite | blocktest.OpZero, blocktest.OpAny &^ blocktest.OpRead} {
		file := blocktest.NewFaulty(blocktest.NewMemory([]byte("begin")))
		var g blockdev.Graph
		below, err := g.Add(file, "file", blockdev.Mode{Writable: true})
		if err != nil {
			t.Fatal(err)
		}
		v, err := g.OpenDescription(t.Context(), blockdev.Options{"driver": "preallocate", "file": below.Name}, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
		if err != nil {
			t.Fatal(err)
		}
		file.Inject(blocktest.Fault{Op: fault})
		_, err = v.Node.WriteAt([]byte("more"), 5)
		zerr := blockdev.WriteZeroes(v.Node, 3, 10, 0)
		if !errors.Is(err, syscall.EIO) || !errors.Is(zerr, syscall.EIO) {
			t.Errorf("%v, %v", err, zerr)
		}
		file.Clear()
		if size := v.Node.Size(); size != 5 {
			t.Errorf("the disk has %d bytes", size)
		}
		if err := errors.Join(v.Unref(), below.Unref()); err != nil {
			t.Error(err)
		}
	}
}
