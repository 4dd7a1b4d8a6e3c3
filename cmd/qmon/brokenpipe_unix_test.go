//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestNobodyReads: a reader that goes away, as head and grep -q do, changes neither what a tool
// does nor its status.
func TestNobodyReads(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "a.raw"), filepath.Join(dir, "b.raw")
	if err := os.WriteFile(source, []byte("data"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"qemu-img", "info", source},
		{"qemu-img", "convert", "-p", source, target},
		{"qmon", "io", "-r", "-f", "raw", "-c", "length", source},
	} {
		cmd := exec.Command(binary(t, args[0]), args[1:]...)
		cmd.Stdout = w
		if err := cmd.Run(); err != nil {
			t.Errorf("%q: %v", args, err)
		}
	}
	if st, err := os.Stat(target); err != nil || st.Size() != 512 {
		t.Errorf("the target is %v, %v", st, err)
	}
}
