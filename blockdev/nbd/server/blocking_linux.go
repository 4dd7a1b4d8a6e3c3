package server

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// blockingConn is a socket outside the runtime's poller: reads and writes block their thread.
// For small requests, one after the other, that is a third cheaper than parking a goroutine
// and having it woken.
type blockingConn struct {
	net.Conn // closed; it still knows the addresses
	file     *os.File
	raw      syscall.RawConn
	mustEnd  atomic.Int64 // the read deadline in Unix nanoseconds, 0 for none
}

// blocking takes a socket over, if it is one of the system's; else the connection is as it
// was. A write waits for timeout at most, and a read when it has a deadline.
func blocking(nc net.Conn, timeout time.Duration) (net.Conn, error) {
	var s syscall.Conn
	switch nc := nc.(type) {
	case *net.UnixConn:
		s = nc
	case *net.TCPConn:
		s = nc
	default:
		return nc, nil
	}
	raw, err := s.SyscallConn()
	if err != nil {
		return nc, err
	}
	var fd int
	var failed error
	if err := raw.Control(func(s uintptr) { fd, failed = unix.FcntlInt(s, unix.F_DUPFD_CLOEXEC, 0) }); err != nil {
		return nc, err
	}
	if failed != nil {
		return nc, failed
	}
	limit := unix.NsecToTimeval(timeout.Nanoseconds())
	err = errors.Join(
		nc.Close(), // which takes it from the poller
		unix.SetNonblock(fd, false),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &limit),
		unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &limit))
	b := &blockingConn{Conn: nc, file: os.NewFile(uintptr(fd), "NBD client")}
	if err == nil {
		b.raw, err = b.file.SyscallConn()
	}
	if err != nil {
		return nc, errors.Join(err, b.file.Close())
	}
	return b, nil
}

// Read ends at the deadline or, if the peer sends a little now and then, a timeout later.
func (b *blockingConn) Read(p []byte) (int, error) {
	for {
		end := b.mustEnd.Load()
		if end != 0 && time.Now().UnixNano() > end {
			return 0, os.ErrDeadlineExceeded
		}
		n, err := b.file.Read(p)
		if err == nil || errors.Is(err, io.EOF) || !errors.Is(err, unix.EAGAIN) {
			return n, err
		}
		if end != 0 {
			return 0, os.ErrDeadlineExceeded
		}
	}
}

func (b *blockingConn) Write(p []byte) (int, error) {
	n, err := b.file.Write(p)
	return n, timedOut(err)
}

// WriteBuffers writes all parts, in one system call if the socket has room.
func (b *blockingConn) WriteBuffers(parts [][]byte) error {
	var failed error
	err := b.raw.Write(func(fd uintptr) bool {
		for len(parts) > 0 && failed == nil {
			n, err := unix.Writev(int(fd), parts)
			if err != nil && !errors.Is(err, unix.EINTR) {
				failed = err
			}
			for n = max(n, 0); len(parts) > 0 && n >= len(parts[0]); parts = parts[1:] {
				n -= len(parts[0])
			}
			if n > 0 {
				parts[0] = parts[0][n:]
			}
		}
		return true
	})
	return errors.Join(err, timedOut(failed))
}

// timedOut names the error of a socket's own time limit.
func timedOut(err error) error {
	if err != nil && errors.Is(err, unix.EAGAIN) {
		return os.ErrDeadlineExceeded
	}
	return err
}

// Close wakes who waits in the system; the descriptor goes when nobody uses it any more.
func (b *blockingConn) Close() error {
	_ = b.raw.Control(func(fd uintptr) { _ = unix.Shutdown(int(fd), unix.SHUT_RDWR) }) // the peer may have left
	return b.file.Close()
}

func (b *blockingConn) SetReadDeadline(t time.Time) error {
	if t.IsZero() {
		b.mustEnd.Store(0)
	} else {
		b.mustEnd.Store(t.UnixNano())
	}
	return nil
}

// SetWriteDeadline need do nothing: every wait is bounded.
func (b *blockingConn) SetWriteDeadline(time.Time) error { return nil }

func (b *blockingConn) SetDeadline(t time.Time) error { return b.SetReadDeadline(t) }
