package server

import (
	"io"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// Backend is what an export's requests go to. It is safe for concurrent use.
type Backend interface {
	io.ReaderAt // full reads or an error, as blockdev.Node's
	io.WriterAt
	Flush() error
	Discard(off, n int64) error
	WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error
	// Status says how the range is stored, through the whole chain; see blockdev.BlockStatus.
	Status(off, n int64) (blockdev.Status, error)
}

// FromNode serves a node as it is.
func FromNode(n blockdev.Node) Backend { return nodeBackend{n} }

type nodeBackend struct{ blockdev.Node }

func (b nodeBackend) Discard(off, n int64) error { return blockdev.Discard(b.Node, off, n) }

func (b nodeBackend) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	return blockdev.WriteZeroes(b.Node, off, n, flags)
}

func (b nodeBackend) Status(off, n int64) (blockdev.Status, error) {
	return blockdev.BlockStatus(b.Node, off, n, nil)
}

// AlignmentOf is the Alignment of an export of n.
func AlignmentOf(n blockdev.Node) uint32 {
	return uint32(min(blockdev.LimitsOf(n).Alignment, protocol.MaxMinBlock))
}

// FromDrive serves what is in a drive, beside the machine that uses it: drains, the cache
// mode and the discovery of zeroes are the drive's.
func FromDrive(d *blockdev.Drive) Backend { return driveBackend{d} }

type driveBackend struct{ *blockdev.Drive }

func (b driveBackend) Status(off, n int64) (blockdev.Status, error) {
	v := b.Medium()
	if v == nil {
		return blockdev.Status{}, blockdev.Errorf(blockdev.ErrNoMedium, "map", b.Name(), "No medium found")
	}
	return blockdev.BlockStatus(v.Node, off, n, nil)
}

var (
	_ Backend = nodeBackend{}
	_ Backend = driveBackend{}
)
