//go:build !unix

package serial

import "errors"

// PTY is the master of a pseudo terminal; there are none on this system.
type PTY struct{ nullDevice }

// Path names the terminal's other side.
func (d *PTY) Path() string { return "" }

func openPTY(Config) (*PTY, error) {
	return nil, errors.New("'pty' is not supported on this system")
}

func openPipe(Config) (*nullDevice, error) {
	return nil, errors.New("'pipe' is not supported on this system")
}
