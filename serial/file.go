package serial

import (
	"fmt"
	"os"
	"sync"
)

// fileDevice writes its output to a file; it has no input.
type fileDevice struct {
	port
	writing sync.Mutex
	file    *os.File
}

var _ Chardev = (*fileDevice)(nil)

func openFile(c Config) (*fileDevice, error) {
	f, err := createOutput(c.Path, c.Append)
	if err != nil {
		return nil, fmt.Errorf("Could not open '%s': %s", c.Path, sysMessage(err))
	}
	d := &fileDevice{file: f}
	d.init(c.ID, true)
	return d, nil
}

// createOutput opens a file that text is written to.
func createOutput(path string, keep bool) (*os.File, error) {
	flags := os.O_WRONLY | os.O_CREATE
	if keep {
		flags |= os.O_APPEND
	} else {
		flags |= os.O_TRUNC
	}
	return os.OpenFile(path, flags, 0o666)
}

// Filename implements Chardev.
func (d *fileDevice) Filename() string { return "file" }

// Write implements Chardev.
func (d *fileDevice) Write(p []byte) (int, error) {
	d.record(p)
	d.writing.Lock()
	defer d.writing.Unlock()
	return d.file.Write(p)
}

// Terminal implements Chardev.
func (d *fileDevice) Terminal() bool { return false }

// Close implements Chardev.
func (d *fileDevice) Close() error {
	if !d.shut() {
		return nil
	}
	return d.file.Close()
}
