package qemuio

import (
	"os"
	"syscall"
	"unsafe"
)

// sigaction is at least as large as the kernel's on every architecture.
type sigaction [8]uint64

// raiseAbort ends the program as abort(3) does: no exit functions, no flush, and a core
// file where those are kept. Go's own handler of the signal, which prints goroutines,
// gives way to the system's (SIG_DFL is zero, see rt_sigaction(2)).
func raiseAbort() error {
	var deflt sigaction
	const maskSize = 8 // bytes of the kernel's signal set
	_, _, errno := syscall.RawSyscall6(syscall.SYS_RT_SIGACTION,
		uintptr(syscall.SIGABRT), uintptr(unsafe.Pointer(&deflt)), 0, maskSize, 0, 0)
	if errno != 0 {
		return errno
	}
	return syscall.Kill(os.Getpid(), syscall.SIGABRT)
}
