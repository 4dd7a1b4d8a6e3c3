package file

import (
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/blockdev"
)

// QEMU locks single bytes of an image with open-file-description locks, always shared
// ones: a byte of the first group says what a user does with the image, one of the second
// what it does not bear others to do. A conflict is found by asking whether somebody else
// holds the byte that stands against one's own.
const (
	lockDoes    = 100 // + permission: does this
	lockForbids = 200 // + permission: does not share this
)

// permission is one of the things a user of an image does.
type permission struct {
	bit  int64
	name string // as QEMU's messages have it
}

var (
	permRead   = permission{0, "consistent read"}
	permWrite  = permission{1, "write"}
	permResize = permission{3, "resize"}
)

// lockFile takes the locks of a reader or a writer, or fails with QEMU's message. Both
// bear other readers, and nobody else who writes or resizes.
func lockFile(f *os.File, name string, writable bool) error {
	does := []permission{permRead}
	if writable {
		does = append(does, permWrite, permResize)
	}
	forbids := []permission{permWrite, permResize}
	for _, p := range does {
		if err := setLock(f, unix.F_RDLCK, lockDoes+p.bit); err != nil {
			return lockFailed(name, "", p, err)
		}
	}
	for _, p := range forbids {
		if err := setLock(f, unix.F_RDLCK, lockForbids+p.bit); err != nil {
			return lockFailed(name, "shared ", p, err)
		}
	}
	for _, p := range does {
		if err := testLock(f, lockForbids+p.bit); err != nil {
			return lockFailed(name, "", p, err)
		}
	}
	for _, p := range forbids {
		if err := testLock(f, lockDoes+p.bit); err != nil {
			return lockFailed(name, "shared ", p, err)
		}
	}
	return nil
}

// unlockFile gives all locks of f up.
func unlockFile(f *os.File) error {
	return fcntlLock(f, unix.F_OFD_SETLK, &unix.Flock_t{
		Type: unix.F_UNLCK, Whence: io.SeekStart, Start: lockDoes, Len: 2 * (lockForbids - lockDoes),
	})
}

func setLock(f *os.File, kind int16, at int64) error {
	return fcntlLock(f, unix.F_OFD_SETLK, &unix.Flock_t{Type: kind, Whence: io.SeekStart, Start: at, Len: 1})
}

// errHeld says that another open file description holds the byte.
var errHeld = errors.New("locked")

func testLock(f *os.File, at int64) error {
	l := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart, Start: at, Len: 1}
	if err := fcntlLock(f, unix.F_OFD_GETLK, &l); err != nil {
		return err
	}
	if l.Type != unix.F_UNLCK {
		return errHeld
	}
	return nil
}

// fcntlLock does without locks where the file system has none, as QEMU's "auto" does.
func fcntlLock(f *os.File, cmd int, l *unix.Flock_t) error {
	kind := l.Type
	err := unix.FcntlFlock(f.Fd(), cmd, l)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOLCK) {
		if l.Type = kind; cmd == unix.F_OFD_GETLK {
			l.Type = unix.F_UNLCK
		}
		return nil
	}
	return err
}

func lockFailed(name, how string, p permission, err error) error {
	return &blockdev.Error{Kind: blockdev.ErrInUse, Op: "open", File: name, Offset: blockdev.NoOffset,
		Text: fmt.Sprintf("Failed to get %s%q lock\nIs another process using the image [%s]?", how, p.name, name),
		Err:  heldByOther(err)}
}

// heldByOther leaves the cause out where the message says it already.
func heldByOther(err error) error {
	if errors.Is(err, errHeld) || errors.Is(err, unix.EAGAIN) {
		return nil
	}
	return err
}
