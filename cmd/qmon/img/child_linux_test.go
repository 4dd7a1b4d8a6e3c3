//go:build !race

// Not with the race detector, which takes memory of its own.

package img

import (
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// childVariable makes the test program run a command line instead, and tell at the end how
// much memory it had at most.
const childVariable = "QMON_IMG_TEST_CHILD"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) == "" {
		os.Exit(m.Run())
	}
	status := Main("qemu-img", os.Args[1:])
	peak, err := os.ReadFile("/proc/self/status")
	if err != nil {
		status = statusFailed
	}
	fmt.Println(string(peak))
	os.Exit(status)
}

// child is a command line to be run in a process of its own.
func child(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), childVariable+"=1")
	return cmd
}
