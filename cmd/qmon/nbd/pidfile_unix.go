//go:build unix

package nbd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/blockdev"
)

// pidFile stays open, as it is locked for as long as this process lives.
var pidFile *os.File

// writePIDFile writes the number of this process. A file that another living one has
// written is refused.
func writePIDFile(name string) error {
	fail := func(text string, err error) error {
		return &blockdev.Error{Op: "create", Offset: blockdev.NoOffset, Text: text, Err: pathCause(err)}
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fail(fmt.Sprintf("Could not create '%s'", name), err)
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &lock); err != nil {
		_ = f.Close() // nothing was written
		return fail("Cannot lock pid file", err)
	}
	pidFile = f
	if err := f.Truncate(0); err != nil {
		return fail("Failed to truncate pid file", err)
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return fail("Failed to write pid file", err)
	}
	return nil
}
