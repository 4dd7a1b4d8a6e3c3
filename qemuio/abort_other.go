//go:build unix && !linux

package qemuio

import (
	"os"
	"syscall"
)

// raiseAbort ends the program with the signal that abort(3) raises; Go's handler prints
// goroutines on the way.
func raiseAbort() error { return syscall.Kill(os.Getpid(), syscall.SIGABRT) }
