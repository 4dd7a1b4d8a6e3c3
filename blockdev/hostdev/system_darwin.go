package hostdev

import (
	"os"
	"unsafe"

	"golang.org/x/sys/unix"
)

var host system = mac{macCalls{}}

// macCalls are the real system calls.
type macCalls struct{ kinds }

func (macCalls) open(path string, flags int) (*os.File, error) { return os.OpenFile(path, flags, 0) }

func (macCalls) control(f *os.File, request uint32, arg []byte) error {
	return ioctl(f, request, uintptr(unsafe.Pointer(unsafe.SliceData(arg))))
}

func (macCalls) value(f *os.File, request uint32, v int) (int, error) {
	return 0, ioctl(f, request, uintptr(v))
}

func ioctl(f *os.File, request uint32, arg uintptr) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), arg)
	if errno != 0 {
		return errno
	}
	return nil
}
