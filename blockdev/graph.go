package blockdev

import (
	"context"
	"sync"
)

// Graph opens nodes, names them, and counts their users. The zero Graph is ready.
// Safe for concurrent use.
type Graph struct {
	mu       sync.Mutex
	vertices []*Vertex // in order of creation
	byNode   map[Node]*Vertex
	nextName int
}

// Vertex is an opened node with what the graph knows of it. Fields are fixed after Open
// but for those reached through methods.
type Vertex struct {
	Node Node
	// Name is the node name: the user's, or made up ("#block123").
	Name string
	// Driver that opened it.
	Driver *Driver
	// Filename as shown to people: the plain name where one suffices to open the node
	// again, else a json: description.
	Filename string
	// Options it was opened with, flattened, defaults left out.
	Options Options
	// Probed is set where the format was guessed from the contents.
	Probed bool

	graph    *Graph
	mode     Mode
	refs     int
	file     *Vertex   // child with the bytes, nil for protocols
	backing  *Vertex   // what Backed.Backing is, nil for none
	children []*Vertex // every child that this vertex holds a reference to
	named    bool      // opened by the user under a node name: stays until removed
}

// OpenOptions say how Graph.Open opens.
type OpenOptions struct {
	// Driver names the driver; "" probes the format. Options may say it too ("driver").
	Driver string
	// Options for the node and, with dotted keys, its children.
	Options  Options
	NodeName string
	Mode     Mode
	// NoBacking leaves the backing file closed: what is unallocated reads as zeroes.
	NoBacking bool
	// Snapshot opens an internal snapshot (ID or name) instead of the present contents.
	Snapshot string
	// Gate opens what the image refers to; nil is DenyGate.
	Gate Gate
}

// Open opens filename, which may be a plain name, "protocol:..." or a "json:{...}"
// description, and everything it needs. The caller owns one reference: Unref it.
func (g *Graph) Open(ctx context.Context, filename string, o OpenOptions) (*Vertex, error) {
	panic("being written")
}

// Ref adds a user.
func (v *Vertex) Ref() *Vertex { panic("being written") }

// Unref removes a user; the last one closes the node, then its children.
func (v *Vertex) Unref() error { panic("being written") }

// File is the child that holds the bytes, nil for protocols.
func (v *Vertex) File() *Vertex { panic("being written") }

// Backing is the vertex below, nil for none.
func (v *Vertex) Backing() *Vertex { panic("being written") }

// SetBacking attaches b (or nil) below v, taking over the caller's reference to b and
// dropping the one to the old backing vertex.
func (v *Vertex) SetBacking(b *Vertex) error { panic("being written") }

// Mode is how the node is open at present.
func (v *Vertex) Mode() Mode { panic("being written") }

// ReopenWritable switches v and what holds its bytes between read-only and read-write.
func (v *Vertex) ReopenWritable(writable bool) error { panic("being written") }

// Chain lists v and what lies below it, backing after backing.
func (v *Vertex) Chain() []*Vertex { panic("being written") }

// Vertices lists the graph's vertices, in order of creation.
func (g *Graph) Vertices() []*Vertex { panic("being written") }

// Find returns the vertex of that node name.
func (g *Graph) Find(name string) (*Vertex, bool) { panic("being written") }

// VertexOf returns the vertex of a node that this graph opened.
func (g *Graph) VertexOf(n Node) (*Vertex, bool) { panic("being written") }

// Create makes an image of the given driver at filename (which is created or truncated).
func (g *Graph) Create(ctx context.Context, driver, filename string, size int64, options Options, backing Reference) error {
	panic("being written")
}

// OpenOverlay puts a temporary qcow2 over v in dir ("" for TMPDIR): -snapshot. The file
// is unlinked as soon as it is open. The overlay takes over the caller's reference to v.
func (g *Graph) OpenOverlay(ctx context.Context, v *Vertex, dir string) (*Vertex, error) {
	panic("being written")
}
