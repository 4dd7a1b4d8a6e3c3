package serial

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"

	"golang.org/x/term"
)

// stdio is the program's standard input and output, in raw mode if they are a terminal.
type stdio struct {
	port
	in      stdinReader
	raw     *terminal // nil: not a terminal
	writing sync.Mutex
}

var (
	_ Chardev = (*stdio)(nil)
	_ Sizer   = (*stdio)(nil)
)

// stdioTaken tells if there is a stdio device: there can be only one.
var stdioTaken atomic.Bool

func openStdio(c Config) (*stdio, error) {
	if !stdioTaken.CompareAndSwap(false, true) {
		return nil, errors.New("cannot use stdio by multiple character devices")
	}
	in, err := openStdin()
	if err != nil {
		stdioTaken.Store(false)
		return nil, err
	}
	d := &stdio{in: in}
	d.init(c.ID, true)
	if fd := int(os.Stdin.Fd()); term.IsTerminal(fd) {
		if d.raw, err = enterRaw(fd, c.Signal); err != nil {
			_ = in.Close()
			stdioTaken.Store(false)
			return nil, err
		}
	}
	go d.readLoop(d.in)
	return d, nil
}

// Filename implements Chardev.
func (d *stdio) Filename() string { return "stdio" }

// Write implements Chardev.
func (d *stdio) Write(p []byte) (int, error) {
	d.record(p)
	d.writing.Lock()
	defer d.writing.Unlock()
	return os.Stdout.Write(p)
}

// Terminal implements Chardev.
func (d *stdio) Terminal() bool {
	return d.raw != nil && term.IsTerminal(int(os.Stdout.Fd()))
}

// Size implements Sizer.
func (d *stdio) Size() (columns, rows int) {
	columns, rows, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil {
		return 0, 0
	}
	return columns, rows
}

// Close implements Chardev.
func (d *stdio) Close() error {
	if !d.shut() {
		return nil
	}
	err := d.in.Close()
	if d.raw != nil {
		err = errors.Join(err, d.raw.restore())
	}
	stdioTaken.Store(false)
	return err
}
