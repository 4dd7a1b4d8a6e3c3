package blockdev

// Limits on what the block layer takes from people, images and descriptions. Each is far
// above what real use needs, and low enough that reaching it harms nobody.
const (
	// MaxBackingChain is how many images may lie over each other. QEMU users report chains
	// of a few hundred; every level costs a file descriptor and a walk per request.
	MaxBackingChain = 1024
	// MaxFilename is how long a file name or description may be, in bytes: a path of
	// Linux's PATH_MAX, with room for the JSON of a deep graph around it.
	MaxFilename = 1 << 20
	// maxJSONDepth is how deeply objects of a description nest: one level for each node of
	// a chain that is written out, which nobody does by hand for more than a few.
	maxJSONDepth = 100
	// maxOptions is how many options one description has.
	maxOptions = 4096
	// MaxSize is the largest size of a node, in bytes: offsets are int64, and the last
	// sectors are kept free so that rounding up cannot overflow. The same as QEMU's.
	MaxSize = 1<<63 - 1<<30
)

// Defaults of the engine.
const (
	// defaultCopyWorkers and defaultCopyChunk are such that what was read is in the processor's
	// cache when it is written: with pieces of 2 MiB a copy takes half as much time again.
	defaultCopyWorkers = 8
	defaultCopyChunk   = 256 << 10
	// zeroBufferSize is the piece in which zeroes are written where a node cannot do better.
	zeroBufferSize = 1 << 20
	// statusWindow is how far BlockStatus is asked to look at once, so that a huge image
	// made of small extents does not delay the first byte copied.
	statusWindow = 1 << 30
)
