//go:build unix

package vvfat

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// TestFileThatBecomesAPipe does not wait for somebody to write to it.
func TestFileThatBecomesAPipe(t *testing.T) {
	n, dir := openFiles(t)
	name := filepath.Join(dir, "A")
	if err := errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o666)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := n.ReadAt(make([]byte, sectorSize), int64(n.layout.clusterSector(n.tree.nodes[1].first))*sectorSize)
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, blockdev.ErrInUse) {
			t.Errorf("ReadAt: %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("ReadAt waits for a writer")
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
}
