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
