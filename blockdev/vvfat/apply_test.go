package vvfat

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// openFiles opens a directory with the files A and B as a writable FAT16 disk.
func openFiles(t *testing.T) (n *Node, dir string) {
	t.Helper()
	return openFilesOf(t, map[string]string{"A": "old A", "B": "old B"})
}

// openFilesOf is openFiles with files of any contents.
func openFilesOf(t *testing.T, files map[string]string) (n *Node, dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(data), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	values, err := openOptions.Parse(blockdev.Options{"dir": dir, "rw": "on", "fat-type": "16"})
	if err != nil {
		t.Fatal(err)
	}
	node, err := open(context.Background(), blockdev.OpenRequest{Options: values, Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		t.Fatal(err)
	}
	return node.(*Node), dir
}

// putAt writes to the disk, skip bytes behind where a sector begins.
func putAt(t *testing.T, n *Node, p []byte, sector, skip uint32) {
	t.Helper()
	if _, err := n.WriteAt(p, int64(sector)*sectorSize+int64(skip)); err != nil {
		t.Fatal(err)
	}
}

// TestHostChangeWhileContentsAreStaged changes a file of the host when all has been
// checked, but before the guest's version takes its place.
func TestHostChangeWhileContentsAreStaged(t *testing.T) {
	for name, change := range map[string]func(n *Node){
		"A": func(n *Node) { // gets new contents
			putAt(t, n, []byte("new"), n.layout.clusterSector(n.tree.nodes[1].first), 0)
		},
		"B": func(n *Node) { // is removed
			root := make([]byte, sectorSize)
			if err := n.readSectors(root, n.layout.root); err != nil {
				t.Fatal(err)
			}
			at := bytes.Index(root, []byte("B          "))
			putAt(t, n, []byte{deletedMark}, n.layout.root, uint32(at))
			for _, table := range []uint32{n.layout.fat, n.layout.fat + n.layout.fatSectors} {
				putAt(t, n, []byte{0, 0}, table, n.tree.nodes[2].first*2)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			n, dir := openFiles(t)
			change(n)
			n.mu.Lock()
			root, err := n.walk()
			if err != nil {
				t.Fatal(err)
			}
			n.live = newLive(n.tree)
			r := &reconciliation{n: n, files: &n.files, synced: map[string]bool{}}
			r.match(root)
			if err := errors.Join(r.check(root), r.stage(root)); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte("the host's"), 0o666); err != nil {
				t.Fatal(err)
			}
			if err := r.apply(root); !errors.Is(err, blockdev.ErrInUse) {
				t.Errorf("apply: %v", err)
			}
			if err := r.cleanUp(); err != nil {
				t.Error(err)
			}
			n.mu.Unlock()
			if err := n.Close(); !errors.Is(err, blockdev.ErrInUse) {
				t.Errorf("Close: %v", err)
			}
			if got, err := os.ReadFile(filepath.Join(dir, name)); string(got) != "the host's" {
				t.Errorf("%s holds %q, %v", name, got, err)
			}
		})
	}
}
