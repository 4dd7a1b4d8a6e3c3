//go:build unix

package qemuio

import (
	"os"
	"syscall"
)

// raise sends the program a signal.
func raise(n int) error {
	return syscall.Kill(os.Getpid(), syscall.Signal(n))
}
