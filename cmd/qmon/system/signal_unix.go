//go:build unix

package system

import (
	"os"
	"syscall"
)

// signalNumber is the number of a signal, as the farewell names it.
func signalNumber(s os.Signal) int {
	if n, ok := s.(syscall.Signal); ok {
		return int(n)
	}
	return 0
}
