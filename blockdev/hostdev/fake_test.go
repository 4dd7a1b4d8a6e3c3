package hostdev

import (
	"encoding/binary"
	"fmt"
	"os"
	"sync"
	"syscall"
)

// fakeDrive is the system calls of a host with one drive. Its medium is a regular file.
type fakeDrive struct {
	mu       sync.Mutex
	path     string // the drive's name on the host
	medium   string // what is in it, "" for nothing
	absent   error  // what requests say when nothing is in it
	requests []string
	answers  map[uint32][]byte // of requests with a buffer
	values   func(request uint32, v int) (int, error)
}

func (d *fakeDrive) note(format string, args ...any) {
	d.requests = append(d.requests, fmt.Sprintf(format, args...))
}

// taken gives the requests so far.
func (d *fakeDrive) taken() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.requests
	d.requests = nil
	return out
}

func (d *fakeDrive) mode(path string) (os.FileMode, error) {
	if path == d.path {
		return os.ModeDevice, nil
	}
	return 0, nil
}

func (d *fakeDrive) fileMode(*os.File) (os.FileMode, error) { return os.ModeDevice, nil }

func (d *fakeDrive) open(path string, flags int) (*os.File, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if path != d.path {
		return nil, &os.PathError{Op: "open", Path: path, Err: syscall.ENOENT}
	}
	name := d.medium
	if name == "" {
		name = os.DevNull
	}
	return os.OpenFile(name, flags&(os.O_WRONLY|os.O_RDWR), 0)
}

// control answers from the table; a size is that of the medium.
func (d *fakeDrive) control(_ *os.File, request uint32, arg []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note("%#x", request)
	if d.medium == "" && d.absent != nil {
		return d.absent
	}
	answer, ok := d.answers[request]
	if !ok {
		return syscall.ENOTTY
	}
	copy(arg, answer)
	return nil
}

func (d *fakeDrive) value(_ *os.File, request uint32, v int) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.note("%#x %d", request, v)
	if d.values == nil {
		return 0, syscall.ENOTTY
	}
	return d.values(request, v)
}

func le32(v uint32) []byte { return binary.LittleEndian.AppendUint32(nil, v) }
func le64(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
