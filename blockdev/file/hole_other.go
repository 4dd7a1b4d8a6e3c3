//go:build !linux

package file

import (
	"os"

	"github.com/qmon/qmon/blockdev"
)

// The functions of hole_linux.go where the system has none of them.

func seekData(*os.File, int64) (at int64, found, ok bool) { return 0, false, false }

func seekHole(*os.File, int64) (at int64, ok bool) { return 0, false }

func punchHole(*os.File, int64, int64) error { return blockdev.ErrNotSupported }

func zeroRange(*os.File, int64, int64) error { return blockdev.ErrNotSupported }

func preallocate(*os.File, int64, int64) error { return blockdev.ErrNotSupported }

func isRefusal(err error) (refused, forever bool) {
	return err == blockdev.ErrNotSupported, err == blockdev.ErrNotSupported
}

func copyRange(_, _ *os.File, _, _, _ int64) error { return blockdev.ErrNotSupported }

func isCopyRefusal(err error) bool { return err == blockdev.ErrNotSupported }

func dataSync(f *os.File) error { return f.Sync() }

const directAlign = 4096

// directFlag does not bypass the cache here: it would change speed alone.
func directFlag(bool) int { return 0 }

// AllocatedSize is the file's length, as holes are not known here.
func (n *Node) AllocatedSize() (int64, error) { return n.Size(), nil }
