package protocol

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// Errno is an error number of the protocol ("Error values"). It is an error: 0 is none and
// never returned as one.
type Errno uint32

// The error numbers.
const (
	EPERM     Errno = 1
	EIO       Errno = 5
	ENOMEM    Errno = 12
	EINVAL    Errno = 22
	ENOSPC    Errno = 28
	EOVERFLOW Errno = 75
	ENOTSUP   Errno = 95
	ESHUTDOWN Errno = 108
)

var errnos = map[Errno]struct {
	text string
	kind error
	sys  syscall.Errno
}{
	EPERM:     {"Operation not permitted", blockdev.ErrReadOnly, syscall.EPERM},
	EIO:       {"Input/output error", nil, syscall.EIO},
	ENOMEM:    {"Cannot allocate memory", nil, syscall.ENOMEM},
	EINVAL:    {"Invalid argument", blockdev.ErrInvalid, syscall.EINVAL},
	ENOSPC:    {"No space left on device", blockdev.ErrNoSpace, syscall.ENOSPC},
	EOVERFLOW: {"Value too large for defined data type", blockdev.ErrLimit, syscall.EOVERFLOW},
	ENOTSUP:   {"Operation not supported", blockdev.ErrNotSupported, syscall.ENOTSUP},
	ESHUTDOWN: {"Cannot send after transport endpoint shutdown", nil, syscall.EPIPE},
}

func (e Errno) Error() string {
	if known, ok := errnos[e]; ok {
		return known.text
	}
	return fmt.Sprintf("NBD error %d", uint32(e))
}

// Is makes an Errno match the kind of blockdev's error, and the system's error, that means
// the same. What is not known counts as an I/O error.
func (e Errno) Is(target error) bool {
	known, ok := errnos[e]
	if !ok {
		known = errnos[EIO]
	}
	return target == known.kind || target == error(known.sys)
}

// ErrnoOf is the number that tells the other end about err.
func ErrnoOf(err error) Errno {
	var e Errno
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, blockdev.ErrReadOnly), errors.Is(err, syscall.EPERM),
		errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EROFS):
		return EPERM
	case errors.Is(err, blockdev.ErrNoSpace), errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EFBIG):
		return ENOSPC
	case errors.Is(err, blockdev.ErrNotSupported), errors.Is(err, syscall.ENOTSUP):
		return ENOTSUP
	case errors.Is(err, blockdev.ErrInvalid), errors.Is(err, blockdev.ErrRange), errors.Is(err, syscall.EINVAL):
		return EINVAL
	case errors.Is(err, syscall.ENOMEM):
		return ENOMEM
	}
	return EIO
}

// RemoteError is an error that the other end reported, with its own words for it.
type RemoteError struct {
	Errno   Errno
	Message string // "" if the other end said nothing
}

func (e *RemoteError) Error() string {
	if e.Message == "" {
		return e.Errno.Error()
	}
	return e.Errno.Error() + ": " + e.Message
}

func (e *RemoteError) Unwrap() error { return e.Errno }

// ErrProtocol is matched by errors about messages that break the protocol.
var ErrProtocol = errors.New("NBD protocol violation")

type violation struct{ text string }

func (v *violation) Error() string        { return v.text }
func (v *violation) Is(target error) bool { return target == ErrProtocol }

// Violation makes an error that matches ErrProtocol.
func Violation(format string, args ...any) error {
	return &violation{fmt.Sprintf(format, args...)}
}
