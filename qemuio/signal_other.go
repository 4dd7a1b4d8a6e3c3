//go:build !unix

package qemuio

import (
	"errors"
	"os"
	"syscall"
)

// raise sends the program a signal. The system has none but those that end it.
func raise(n int) error {
	p, err := os.FindProcess(os.Getpid())
	if err != nil {
		return err
	}
	return p.Signal(syscall.Signal(n))
}

func raiseAbort() error { return errNoAbort }

var errNoAbort = errors.New("abort: not supported on this system")
