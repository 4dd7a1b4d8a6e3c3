// Package flat maps what lies plainly in a file, one byte after the other: fixed images.
package flat

import "github.com/qmon/qmon/blockdev"

// Map says where n bytes at host are. A hole of the file is no hole of the disk, which has
// all its storage: its zeroes are written ones.
func Map(file blockdev.Node, host, n int64) (blockdev.Extent, error) {
	have := file.Size() - host
	if have <= 0 {
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: n}, nil
	}
	e, err := file.Map(host, min(n, have))
	if e.Kind == blockdev.ExtentZero {
		e.Written = true
	}
	return e, err
}
