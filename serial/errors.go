package serial

import (
	"errors"
	"net"
	"syscall"
)

// sysMessage words the cause of an error as the C library does: "No such file or
// directory", without the operation and the name that the caller gives itself.
func sysMessage(err error) string {
	var dns *net.DNSError
	if errors.As(err, &dns) {
		return "Name or service not known"
	}
	text := err.Error()
	var errno syscall.Errno
	if errors.As(err, &errno) {
		text = errno.Error()
	}
	if text != "" && 'a' <= text[0] && text[0] <= 'z' {
		text = string(text[0]-'a'+'A') + text[1:]
	}
	return text
}
