//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"
)

// TestExerciserAtATerminal types at the prompt of qmon io: completion, history, a failure,
// and C-d for the end.
func TestExerciserAtATerminal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "a.raw"), make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := startSessionIn(t, dir, "io", "-f", "raw", "a.raw")
	s.expect("qemu-io> ")
	s.send("leng\t\r")
	s.expect("1 MiB")
	s.expect("qemu-io> ")
	s.send("frobnicate\r")
	s.expect("command \"frobnicate\" not found")
	s.expect("qemu-io> ")
	s.send("read -q -P 0 0 512\r")
	s.expect("qemu-io> ")
	s.send("\x1b[A\x1b[A\r")
	s.expect("command \"frobnicate\" not found")
	s.expect("qemu-io> ")
	s.send("\x04")
	if status := s.end(); status != 1 {
		t.Errorf("status %d; a command had failed", status)
	}
}
