//go:build unix

package nbd

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/blockdev"
)

// writePIDFile writes the number of this process. The file stays locked until it is closed;
// one that another living process has written is refused.
func writePIDFile(name string) (*os.File, error) {
	fail := func(text string, err error) (*os.File, error) {
		return nil, &blockdev.Error{Op: "create", Offset: blockdev.NoOffset, Text: text, Err: pathCause(err)}
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
	err = f.Truncate(0)
	if err == nil {
		_, err = fmt.Fprintln(f, os.Getpid())
	}
	if err != nil {
		_ = f.Close() // the failure before is reported
		return fail("Failed to write pid file", err)
	}
	return f, nil
}
