package preallocate_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
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
