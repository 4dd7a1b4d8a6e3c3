//go:build unix

package main

import (
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev/sheepdog/sheeptest"
)

// TestSignalsGiveLocksBack: a lock on a cluster outlives the program that took it, so that a
// program that is asked to end gives it back.
func TestSignalsGiveLocksBack(t *testing.T) {
	for name, args := range map[string][]string{
		"io":               {"io", "-f", "raw", "-c", "write 0 64k", "-c", "sleep 600000"},
		"io at its prompt": {"io", "-f", "raw"},
		"nbd":              {"nbd", "-t", "-f", "raw", "-k", filepath.Join(t.TempDir(), "nbd.sock")},
		"img":              {"img", "bench", "-w", "-f", "raw", "-s", "4k", "-c", "100000000"},
		"machine":          {"-machine", "none", "-nodefaults", "-display", "none", "-S", "-hda"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := sheeptest.New(sheeptest.Config{Locking: true})
			g, err := cluster.Listen()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(g.Kill)
			disk := "sheepdog:" + g.Addr() + ":disk"
			runTool(t, "img", "create", "-q", "-f", "raw", disk, "64M")
			cmd := exec.Command(binary(t, "qmon"), append(args, disk)...)
			if _, err := cmd.StdinPipe(); err != nil { // open, and nothing comes
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			for end := time.Now().Add(time.Minute); cluster.Locks() == 0; time.Sleep(10 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("it takes no lock")
				}
			}
			_ = cmd.Process.Signal(syscall.SIGTERM)
			_ = cmd.Wait()
			if n := cluster.Locks(); n != 0 {
				t.Errorf("%d locks are left", n)
			}
		})
	}
}
