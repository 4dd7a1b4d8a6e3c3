// Package restrict is --restrict of all the programs: which files images may refer to.
package restrict

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
)

// Gate follows what lies below dir. No name at all, as from a script whose variable is empty, is
// an error: it is neither the working directory nor leave to follow everything.
func Gate(dir string) (blockdev.Gate, error) {
	if dir == "" {
		return nil, errors.New("--restrict needs the name of a directory")
	}
	return blockdev.RestrictGate{Dir: dir}, nil
}
