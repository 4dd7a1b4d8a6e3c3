package blockdev_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/file"
)

// TestReopenReadOnlyLeavesOthersWritable has two disks over one file, of which one stops
// being written.
func TestReopenReadOnlyLeavesOthersWritable(t *testing.T) {
	for name, c := range map[string]struct {
		file string // what says which file the second disk is over
		root bool   // the graph's owner holds the file too
	}{
		"named by its owner":         {file: "bytes", root: true},
		"opened with the first disk": {file: "below"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "disk")
			if err := os.WriteFile(path, make([]byte, 1024), 0o600); err != nil {
				t.Fatal(err)
			}
			var g blockdev.Graph
			open := func(o blockdev.Options) *blockdev.Vertex {
				t.Helper()
				v, err := g.OpenDescription(t.Context(), o, blockdev.OpenOptions{Mode: blockdev.Mode{Writable: true}})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() {
					if err := v.Unref(); err != nil {
						t.Error(err)
					}
				})
				return v
			}
			over := blockdev.Options{"driver": "raw", "file": "bytes"}
			if c.root {
				open(blockdev.Options{"driver": "file", "filename": path, "node-name": "bytes"})
			} else {
				over = blockdev.Options{"driver": "raw", "file.driver": "file", "file.filename": path, "file.node-name": "below"}
			}
			first := open(over)
			second := open(blockdev.Options{"driver": "raw", "file": c.file})
			if err := first.ReopenWritable(false); err != nil {
				t.Fatal(err)
			}
			if _, err := second.Node.WriteAt([]byte{1}, 0); err != nil {
				t.Errorf("the second disk: %v", err)
			}
			if err := second.ReopenWritable(false); err != nil {
				t.Fatal(err)
			}
			if got := second.File().Mode().Writable; got != c.root {
				t.Errorf("the file is writable: %v, want %v", got, c.root)
			}
		})
	}
}
