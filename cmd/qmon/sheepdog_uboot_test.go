//go:build unix

package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
	"github.com/qmon/qmon/internal/peer"
)

// TestUBootOnSheepdog boots from a disk of a cluster by its name alone, as the manual does, and
// saves the machine into it.
func TestUBootOnSheepdog(t *testing.T) {
	g, err := sheeptest.New(sheeptest.Config{Locking: true}).Listen()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(g.Kill)
	disk := "sheepdog:" + g.Addr() + ":disk"
	runTool(t, "img", "convert", "-O", "raw", fatDisk(t), disk)

	s := startSession(t, append(firmware(t), disk)...)
	s.expect("Hit any key to stop autoboot")
	s.send(" ")
	s.expect("=> ")
	if out := s.guest("virtio scan; ls virtio 0"); !strings.Contains(out, "hello.txt") {
		t.Fatalf("ls: %s", out)
	}
	s.mark("one", "41")
	s.monitor("savevm a")
	s.mark("two", "42")
	s.checkMark("two", "42")
	s.monitor("loadvm a")
	s.checkMark("one", "41")
	s.switchFocus()
	s.expect("(qemu) ")
	s.send("quit\r")
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}

	raw := filepath.Join(t.TempDir(), "disk.raw")
	runTool(t, "img", "convert", "-O", "raw", disk, raw)
	if got := peer.Run(t, "mtype", "-i", raw, "::mark.txt"); got != strings.Repeat("A", 512) {
		t.Errorf("mark.txt holds %q", got)
	}
	if list := runTool(t, "img", "snapshot", "-l", disk); !strings.Contains(list, " a ") {
		t.Errorf("the snapshot is not listed: %s", list)
	}
}

// runTool runs one of the program's tools, which must succeed, and returns what it prints.
func runTool(t *testing.T, args ...string) string {
	t.Helper()
	return peer.Run(t, binary(t, "qmon"), args...)
}
