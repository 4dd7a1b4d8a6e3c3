package blockdev

import (
	"errors"
	"syscall"
)

// systemMessage words an operating system error as the C library does: capitalised.
func systemMessage(err error) (string, bool) {
	var errno syscall.Errno
	if !errors.As(err, &errno) || errno == 0 {
		return "", false
	}
	s := errno.Error()
	if s == "" {
		return "", false
	}
	return string(s[0]-'a'+'A') + s[1:], true
}

// kindErrors are the numbers by which QEMU knows the kinds of failure.
var kindErrors = []struct {
	kind   error
	number int
	text   string
}{
	{ErrNoMedium, 123, "No medium found"},
	{ErrNotSupported, 95, "Operation not supported"},
	{ErrRange, 5, "Input/output error"},
	{ErrCorrupt, 5, "Input/output error"},
	{ErrReadOnly, 1, "Operation not permitted"},
	{ErrInvalid, 22, "Invalid argument"},
	{ErrLimit, 22, "Invalid argument"},
	{ErrDenied, 1, "Operation not permitted"},
	{ErrInUse, 16, "Device or resource busy"},
	{ErrNoSpace, 28, "No space left on device"},
}

// SystemError is the error number that QEMU has for err, as on Linux where the cause is not
// the system's, and the C library's words for it. An error of no such kind has number 0 and
// its own words.
func SystemError(err error) (number int, text string) {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		return int(errno), Message(errno)
	}
	for _, k := range kindErrors {
		if errors.Is(err, k.kind) {
			return k.number, k.text
		}
	}
	return 0, Message(err)
}
