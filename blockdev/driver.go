package blockdev

import (
	"context"
	"sort"
	"sync"
)

// Driver describes a protocol, a format or a filter. Register it once, from an init
// function; adding one is a package and a line in formats/all or blockdev/all.
type Driver struct {
	// Name as in QEMU: "file", "qcow2".
	Name string
	// Protocol drivers hold bytes themselves; all others have children.
	Protocol bool
	// Children are the nodes below one of this driver. nil is one child named "file". The
	// first that is no list holds the bytes, see [Vertex.File].
	Children []Child
	// Prefixes are the file name prefixes (without colon) that select this protocol.
	Prefixes []string
	// Probe scores how surely head, the first bytes of a file (at most ProbeSize), is an
	// image of this format: 0 not at all, 100 certain. nil for drivers never probed.
	Probe func(head []byte, filename string) int
	// ClaimsName tells if a plain name is this protocol's and no regular file's; it may
	// look at the file. nil for protocols that only a prefix selects.
	ClaimsName func(filename string) bool
	// OpenOptions and CreateOptions are what Open and Create understand besides the
	// options every node has (driver, node-name, read-only, cache.*, discard, ...).
	OpenOptions   OptionTable
	CreateOptions OptionTable
	// AmendOptions are what an Amender of this driver can change; nil if it cannot.
	AmendOptions OptionTable
	// Open opens a node. It must not keep ctx.
	Open func(ctx context.Context, r OpenRequest) (Node, error)
	// Create makes an image; nil if the driver cannot.
	Create func(ctx context.Context, r CreateRequest) error
	// Remove takes a file away that Create made, of a protocol; nil if what is made stays.
	Remove func(filename string) error
	// Measure tells how large an image that Create makes will be; nil if the driver cannot.
	Measure func(ctx context.Context, r MeasureRequest) (Measurement, error)
	// ParseFilename turns a file name with one of Prefixes into options; nil for none. The
	// name of a child is the option that is called after it, with "x-" before.
	ParseFilename func(filename string) (Options, error)
	// FormatFilename is the reverse: the file name that opens a node with the given options
	// over children of these names, "" if no name says it all. nil for none.
	FormatFilename func(own Options, children []string) string
}

// Opener is a Driver.Open of a function that opens a node of a type of its own.
func Opener[N Node](open func(context.Context, OpenRequest) (N, error)) func(context.Context, OpenRequest) (Node, error) {
	return func(ctx context.Context, r OpenRequest) (Node, error) { return AsNode(open(ctx, r)) }
}

// AsNode is n as a Node, which is nil, and no interface of a nil pointer, where there is an
// error.
func AsNode[N Node](n N, err error) (Node, error) {
	if err != nil {
		return nil, err
	}
	return n, nil
}

// Child is a kind of node below another. Options describe it behind its name and a dot
// ("file.driver"), or name a node of the graph ("file").
type Child struct {
	Name string
	// List children are any number, counted from 0: "children.0", "children.1".
	List bool
	// Image children are images of any format; all others hold bytes, so that a file name
	// alone describes them.
	Image bool
}

// ProbeSize is how many bytes Probe is shown at most, the same as QEMU's.
const ProbeSize = 2048

// OpenRequest is what Driver.Open gets.
type OpenRequest struct {
	// Filename as the user, or the image that refers to it, wrote it.
	Filename string
	// File is the opened child with the bytes, nil for protocols.
	File Node
	// FileDriver is the name of the driver of File.
	FileDriver string
	// Options are validated against OpenOptions.
	Options Values
	Mode    Mode
	// Probed is set where the format was guessed from the contents of File.
	Probed bool
	// OpenChild opens a further child by its name ("raw", "children.0"), nil if the options
	// do not describe it. The node belongs to the graph: do not close it.
	OpenChild func(ctx context.Context, name string) (Node, error)
	// ListLength is how many children of a list are described, -1 if they are not counted
	// from 0 without a gap.
	ListLength func(name string) int
	// OpenReference opens another file that the image names, through the gate. The node
	// returned belongs to the graph: do not close it.
	OpenReference func(ctx context.Context, ref Reference) (Node, error)
	// BaseName is [Vertex.BaseName] of the vertex of File; nil without one.
	BaseName func() (string, error)
	// Notify is the graph's, nil for none.
	Notify func(text string)
}

// Mode is how a node is opened. It is passed down to children.
type Mode struct {
	Writable bool
	// AutoReadOnly opens read-only instead of failing where writing is not permitted.
	AutoReadOnly bool
	Cache        CacheMode
	// Unmap passes discards on to the host; off, they are ignored.
	Unmap bool
	// ForceShare takes no locks and accepts others writing (-U); read-only nodes only.
	ForceShare bool
	// NoIO opens for metadata only (info): no guest data is read or written.
	NoIO bool
	// Check opens for a Checker that may repair: an image that is too damaged to be
	// written otherwise is no reason to fail.
	Check bool
}

// CacheMode is QEMU's triple behind cache=.
type CacheMode struct {
	WriteThrough bool // flush after every write
	Direct       bool // bypass the host's page cache
	NoFlush      bool // ignore flushes
}

// MeasureRequest is what Driver.Measure gets.
type MeasureRequest struct {
	Size    int64 // virtual size, bytes
	Options Values
	// Backing, if the image is to have a backing file.
	Backing Reference
	// Source is what the image is to hold, through its whole backing chain; nil for nothing.
	Source Node
	// Bitmaps are those that go with it; nil if there is no way to keep any.
	Bitmaps BitmapStore
}

// Measurement is what Driver.Measure finds, in bytes.
type Measurement struct {
	// Required is how long the file will be when it holds the source, and FullyAllocated
	// when every part of the disk was written.
	Required, FullyAllocated int64
	// Bitmaps is what the bitmaps of the source take in addition; nil if they cannot be kept.
	Bitmaps *int64
}

// CreateRequest is what Driver.Create gets.
type CreateRequest struct {
	Filename string // of the file to be made, without the prefix of a local file ("file:")
	Size     int64  // virtual size, bytes
	// File is the opened, empty protocol node that a format writes its image into; nil
	// for protocols.
	File    Node
	Options Values
	// Backing, if the image is to have a backing file, as it is to be recorded.
	Backing Reference
	// CreateFile makes, or empties, a further file that the image is to keep guest data in,
	// and opens it. The node is closed once Create has returned.
	CreateFile func(ctx context.Context, filename string) (Node, error)
}

var registry = struct {
	sync.RWMutex
	m map[string]*Driver
}{m: map[string]*Driver{}}

// Register makes a driver known. It panics if the name is taken: that is a mistake in
// the program, not in its input.
func Register(d Driver) {
	registry.Lock()
	defer registry.Unlock()
	if _, ok := registry.m[d.Name]; ok {
		panic("blockdev: driver " + d.Name + " registered twice")
	}
	registry.m[d.Name] = &d
}

// LookupDriver finds a driver by name.
func LookupDriver(name string) (*Driver, error) {
	registry.RLock()
	defer registry.RUnlock()
	if d, ok := registry.m[name]; ok {
		return d, nil
	}
	return nil, Errorf(ErrNotFound, "", "", "Unknown driver '%s'", name)
}

// KnownFormat tells if an image may say that its backing file is of that format: a driver's
// name, or "" for no statement.
func KnownFormat(name string) bool {
	_, err := LookupDriver(name)
	return name == "" || err == nil
}

// Drivers lists all drivers by name.
func Drivers() []*Driver {
	registry.RLock()
	defer registry.RUnlock()
	out := make([]*Driver, 0, len(registry.m))
	for _, d := range registry.m {
		out = append(out, d)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out
}
