package blockdev

import "io"

// Node is one vertex of the block graph. All offsets and lengths are in bytes. A Node
// is safe for concurrent use by many goroutines. Implementations are pointers, so that
// two Nodes can be compared.
type Node interface {
	// ReadAt reads len(p) bytes at off, or fails: there are no short reads, and a range
	// that ends past Size is an error.
	io.ReaderAt
	// WriteAt writes len(p) bytes at off, or fails. It does not grow a node of fixed
	// size; protocol nodes whose medium can grow (a regular file) do grow.
	io.WriterAt
	// Size is the length of the node as its user sees it.
	Size() int64
	// Map says where the bytes at off live. The extent begins at off, is at least one
	// and at most n bytes long, and n must be positive with off+n <= Size.
	Map(off, n int64) (Extent, error)
	// Flush makes every write that was complete when Flush was called survive a crash of
	// the program and of the host.
	Flush() error
	// Close releases what the node itself holds. It flushes first. Children belong to
	// the graph, which closes them afterwards.
	Close() error
}

// ExtentKind says how a range of a node is stored.
type ExtentKind uint8

const (
	// ExtentData bytes lie plainly in another node, or in this one if it is a protocol.
	ExtentData ExtentKind = iota + 1
	// ExtentZero bytes read as zeroes without looking anywhere.
	ExtentZero
	// ExtentUnallocated bytes are not in this node: its backing node has them, and if
	// there is none (or it is shorter) they read as zeroes.
	ExtentUnallocated
	// ExtentOpaque bytes need the driver to be read (compressed, encrypted).
	ExtentOpaque
)

func (k ExtentKind) String() string {
	switch k {
	case ExtentData:
		return "data"
	case ExtentZero:
		return "zero"
	case ExtentUnallocated:
		return "unallocated"
	case ExtentOpaque:
		return "opaque"
	}
	return "invalid"
}

// Extent is a run of bytes that are stored in one way. See [Node.Map].
type Extent struct {
	Kind ExtentKind
	// Len is the length of the run, at least 1.
	Len int64
	// Node and Host say, for ExtentData, that the bytes are at Host in Node, so that a
	// caller may read them there itself. A protocol names itself. For the other kinds with
	// Allocated set they say where the storage is, for information.
	Node Node
	Host int64
	// Allocated is set for ExtentZero and ExtentUnallocated where storage is reserved all
	// the same.
	Allocated bool
	// Compressed is set for ExtentOpaque bytes that are compressed.
	Compressed bool
	// Written is set for ExtentZero where the zeroes are stored as any other data.
	Written bool
	// Undefined is set for ExtentUnallocated bytes that may read as anything.
	Undefined bool
}
