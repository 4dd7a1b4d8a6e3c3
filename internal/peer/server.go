package peer

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"
)

// patience is how long a server may take until it listens.
const patience = time.Minute

// SocketDir is a folder whose name is short enough for a socket in it, as that of
// t.TempDir is not.
func SocketDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "qmon")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// Start runs a server until the test ends, or the function returned is called, and waits
// for its socket.
func Start(t testing.TB, socket string, argv ...string) (kill func()) {
	t.Helper()
	Need(t, argv[0])
	_ = os.Remove(socket)
	cmd := exec.Command(argv[0], argv[1:]...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	t.Cleanup(kill)
	if !listens(socket) {
		kill()
		t.Fatalf("%q does not listen:\n%s", argv, out.String())
	}
	return kill
}

// Listening waits until somebody listens on a socket.
func Listening(t testing.TB, socket string) {
	t.Helper()
	if !listens(socket) {
		t.Fatalf("nobody listens on %s", socket)
	}
}

func listens(socket string) bool {
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if nc, err := net.Dial("unix", socket); err == nil {
			_ = nc.Close()
			return true
		}
	}
	return false
}
