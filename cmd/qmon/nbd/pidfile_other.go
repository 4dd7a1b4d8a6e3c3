//go:build !unix

package nbd

import (
	"errors"
	"fmt"
	"os"
)

// writePIDFile writes the number of this process.
func writePIDFile(name string) (*os.File, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintln(f, os.Getpid()); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
