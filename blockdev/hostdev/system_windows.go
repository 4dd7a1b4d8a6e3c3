package hostdev

import (
	"errors"
	"os"
	"unsafe"

	sys "golang.org/x/sys/windows"
)

var host system = windows{calls: windowsCalls{}, driveType: driveType}

func driveType(letter byte) uint32 {
	root, err := sys.UTF16PtrFromString(string(letter) + `:\`)
	if err != nil {
		return sys.DRIVE_UNKNOWN
	}
	return sys.GetDriveType(root)
}

// windowsCalls are the real system calls.
type windowsCalls struct{ kinds }

func (windowsCalls) open(path string, flags int) (*os.File, error) {
	f, err := os.OpenFile(path, flags, 0)
	return f, noMedium(err)
}

func (windowsCalls) control(f *os.File, request uint32, arg []byte) error {
	var returned uint32
	at, n := unsafe.SliceData(arg), uint32(len(arg))
	return noMedium(sys.DeviceIoControl(sys.Handle(f.Fd()), request, at, n, at, n, &returned, nil))
}

// value is for systems whose requests take integers.
func (windowsCalls) value(*os.File, uint32, int) (int, error) { return 0, errors.ErrUnsupported }

// noMedium turns what drives without a medium say into errNotReady.
func noMedium(err error) error {
	if errors.Is(err, sys.ERROR_NOT_READY) || errors.Is(err, sys.ERROR_NO_MEDIA_IN_DRIVE) {
		return errors.Join(errNotReady, err)
	}
	return err
}
