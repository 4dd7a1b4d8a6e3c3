//go:build !linux

package nbd

import "errors"

// labelled does what makes a socket; only Linux has labels.
func labelled(label string, do func() error) error {
	if label != "" {
		return errors.New("SELinux labels are not supported on this system")
	}
	return do()
}
