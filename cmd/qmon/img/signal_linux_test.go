//go:build !race

package img

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSignals interrupts a conversion that runs in a process of its own.
func TestSignals(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		target := filepath.Join(t.TempDir(), "out.raw")
		cmd := child("convert", "-p", "-m", "1", "-S", "0",
			"json:{'driver':'null-co','size':1073741824,'latency-ns':20000000}", target)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		const line = "    (0.00/100%)\r"
		if _, err := io.ReadFull(stdout, make([]byte, 2*len(line))); err != nil { // it is on its way
			t.Fatal(err, stderr.String())
		}
		if err := cmd.Process.Signal(sig); err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, stdout)
		_ = cmd.Wait()
		if got := cmd.ProcessState.ExitCode(); got != statusInterrupted || !strings.HasSuffix(stderr.String(), "interrupted\n") {
			t.Errorf("%v: status %d, %q", sig, got, stderr.String())
		}
		if _, err := os.Stat(target); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%v: the target is left: %v", sig, err)
		}
	}
}
