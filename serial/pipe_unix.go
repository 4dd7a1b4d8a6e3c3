//go:build unix

package serial

import (
	"errors"
	"fmt"
	"os"
)

// pipeDevice is a pair of named pipes, or a single one for both ways.
type pipeDevice struct {
	port
	in, out *os.File // may be the same
	stall   stallWriter
}

var _ Chardev = (*pipeDevice)(nil)

// openPipe opens PATH.in and PATH.out, or else PATH. Each is opened for both directions,
// so that it does not wait for its other end and has no end of file.
func openPipe(c Config) (*pipeDevice, error) {
	open := func(path string) (*os.File, error) {
		return os.OpenFile(path, os.O_RDWR, 0)
	}
	in, err := open(c.Path + ".in")
	out, err2 := open(c.Path + ".out")
	if err != nil || err2 != nil {
		if in != nil {
			_ = in.Close()
		}
		if out != nil {
			_ = out.Close()
		}
		if in, err = open(c.Path); err != nil {
			return nil, fmt.Errorf("Could not open '%s': %s", c.Path, sysMessage(err))
		}
		out = in
	}
	d := &pipeDevice{in: in, out: out, stall: stallWriter{file: out}}
	d.init(c.ID, true)
	go d.readLoop(in)
	return d, nil
}

// Filename implements Chardev.
func (d *pipeDevice) Filename() string { return "pipe" }

// Write implements Chardev.
func (d *pipeDevice) Write(p []byte) (int, error) {
	d.record(p)
	return d.stall.Write(p)
}

// Terminal implements Chardev.
func (d *pipeDevice) Terminal() bool { return false }

// Close implements Chardev.
func (d *pipeDevice) Close() error {
	if !d.shut() {
		return nil
	}
	err := d.in.Close()
	if d.out != d.in {
		err = errors.Join(err, d.out.Close())
	}
	return err
}
