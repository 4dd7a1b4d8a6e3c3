//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestLogShowsTrapsAndResets(t *testing.T) {
	dir := t.TempDir()
	s := startSessionIn(t, dir, append(firmware(t), "-d", "int,cpu_reset", "-D", "log")...)
	s.expect("Hit any key to stop autoboot")
	s.monitor("system_reset")
	s.expect("Hit any key to stop autoboot")
	s.send("\x01x")
	s.end()
	log, err := os.ReadFile(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	// OpenSBI looks for registers that are not there; a reset shows the hart as it was.
	for _, want := range []string{"async:0, cause:0000000000000002", "CPU Reset (CPU 0)\n", "x5/t0"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("no %q in:\n%.2000s", want, log)
		}
	}
}
