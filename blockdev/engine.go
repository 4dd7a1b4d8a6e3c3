package blockdev

import "context"

// Read fills p from n at off by asking n.Map: data is read where it lies, holes are
// zeroed, unallocated ranges come from the backing node (zeroes past its end), opaque
// ones from the driver. Formats implement ReadAt with it.
func Read(n Node, p []byte, off int64) (int, error) { panic("being written") }

// WriteZeroes writes zeroes with n's ZeroWriter, or by writing them.
func WriteZeroes(n Node, off, length int64, flags ZeroFlags) error { panic("being written") }

// Discard gives storage back if n can.
func Discard(n Node, off, length int64) error { panic("being written") }

// Resize changes the size of n if it can.
func Resize(n Node, size int64, o ResizeOptions) error { panic("being written") }

// LimitsOf are n's limits, or the defaults.
func LimitsOf(n Node) Limits { panic("being written") }

// Status is the engine's view of a range through the whole chain, coalesced: what
// convert, compare, map and NBD's block status go by.
type Status struct {
	Extent
	// Depth is how many backing files down the extent was found, 0 the top.
	Depth int
	// Owner is the node at that depth whose Map said so.
	Owner Node
}

// BlockStatus resolves up to length bytes at off through the chain below n, stopping at
// the node base (nil: to the end of the chain). Ranges in no node are ExtentUnallocated.
func BlockStatus(n Node, off, length int64, base Node) (Status, error) { panic("being written") }

// CopyOptions steer Copy.
type CopyOptions struct {
	Workers   int   // parallel requests, 0 for the default
	ChunkSize int64 // bytes per request at most, 0 for the default
	// Base: copy only what is allocated above this node.
	Base Node
	// DetectZeroes looks for zeroes in data, at this granularity in bytes (0: not).
	DetectZeroes int64
	// TargetIsZero says that the target reads as zeroes already.
	TargetIsZero bool
	// Compress writes whole clusters through CompressedWriter.
	Compress bool
	// Progress is called with the bytes of the source done so far.
	Progress func(done, total int64)
}

// Copy copies src to dst, holes as holes, in parallel, memory bounded by
// Workers*ChunkSize. It stops at the first error or when ctx is done.
func Copy(ctx context.Context, dst, src Node, o CopyOptions) error { panic("being written") }
