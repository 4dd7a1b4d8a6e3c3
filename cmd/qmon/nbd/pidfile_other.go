//go:build !unix

package nbd

import (
	"fmt"
	"os"
)

// writePIDFile writes the number of this process.
func writePIDFile(name string) error {
	return os.WriteFile(name, fmt.Appendln(nil, os.Getpid()), 0o644)
}
