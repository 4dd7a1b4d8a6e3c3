//go:build !race

package img

import (
	"bufio"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/qmon/qmon/internal/peer"
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

// slowChild is a conversion that takes long, of which data has reached the target.
func slowChild(t *testing.T, options ...string) (cmd *exec.Cmd, target string, stderr *bufio.Reader) {
	t.Helper()
	target = filepath.Join(t.TempDir(), "out.qcow2")
	cmd = child(append(append([]string{"convert"}, options...), "-O", "qcow2", "-S", "0", "-m", "1", "-r", "100M",
		"json:{'driver':'null-co','size':1073741824}", target)...)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for {
		if st, err := os.Stat(target); err == nil && st.Size() > 4<<20 {
			return cmd, target, bufio.NewReader(pipe)
		}
		time.Sleep(time.Millisecond)
	}
}

// TestKilledConversionIsUnfinished: nobody opens what a killed conversion left.
func TestKilledConversionIsUnfinished(t *testing.T) {
	peer.Need(t, "qemu-img")
	cmd, target, _ := slowChild(t)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if got := runOurs(t, ".", []string{"info", target}); got.Status != statusFailed || !strings.Contains(got.Stderr, "unfinished") {
		t.Errorf("%+v", got)
	}
	if got := runPeer(t, ".", []string{"info", target}); got.Status != statusFailed || !strings.Contains(got.Stderr, "Unsupported qcow2 feature") {
		t.Errorf("%+v", got)
	}
}

// TestProgressSignal: SIGUSR1 asks for a line on standard error.
func TestProgressSignal(t *testing.T) {
	cmd, _, stderr := slowChild(t)
	if err := cmd.Process.Signal(syscall.SIGUSR1); err != nil {
		t.Fatal(err)
	}
	line, err := stderr.ReadString('\n')
	if ok, _ := regexp.MatchString(`^    \(\d+\.\d\d/100%\)\n$`, line); err != nil || !ok {
		t.Errorf("%q, %v", line, err)
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, stderr)
	_ = cmd.Wait()
}
