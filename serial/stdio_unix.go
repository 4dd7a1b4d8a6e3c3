//go:build unix

package serial

import (
	"errors"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// stdinReader reads a descriptor that other programs may share, so that it must not be
// made non-blocking: it waits until there is something to read, or Close is called.
type stdinReader = *pollReader

func openStdin() (stdinReader, error) { return newPollReader(unix.Stdin) }

// pollReader reads a descriptor, blocking, and can be interrupted by Close, which leaves
// the descriptor open.
type pollReader struct {
	fd   int
	wake [2]*os.File // closing the second end ends the wait
	over bool        // a wait has ended so; used by the reader alone
}

func newPollReader(fd int) (*pollReader, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	return &pollReader{fd: fd, wake: [2]*os.File{r, w}}, nil
}

// Read implements io.Reader.
func (r *pollReader) Read(p []byte) (int, error) {
	if _, err := r.wait(-1); err != nil {
		return 0, err
	}
	for {
		n, err := unix.Read(r.fd, p)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, err
		case n == 0:
			return 0, io.EOF
		default:
			return n, nil
		}
	}
}

// wait returns the events on the descriptor, 0 after timeout milliseconds (-1: none), or
// an error after Close.
func (r *pollReader) wait(timeout int) (events int16, err error) {
	if r.over {
		return 0, os.ErrClosed
	}
	fds := []unix.PollFd{
		{Fd: int32(r.fd), Events: unix.POLLIN},
		{Fd: int32(r.wake[0].Fd()), Events: unix.POLLIN},
	}
	for {
		_, err := unix.Poll(fds, timeout)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return 0, err
		case fds[1].Revents != 0:
			r.over = true
			_ = r.wake[0].Close()
			return 0, os.ErrClosed
		}
		return fds[0].Revents, nil
	}
}

// Close ends a Read that waits, and all later ones.
func (r *pollReader) Close() error { return r.wake[1].Close() }
