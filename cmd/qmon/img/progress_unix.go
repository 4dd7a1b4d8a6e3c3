//go:build unix

package img

import (
	"os"
	"syscall"
)

// progressSignal asks a command how far it has come.
var progressSignal os.Signal = syscall.SIGUSR1
