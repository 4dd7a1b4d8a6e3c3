package blockdev

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
)

// Graph opens nodes, names them, and counts their users. The zero Graph is ready.
// Safe for concurrent use.
type Graph struct {
	// Notify, if set before the graph is used, receives what a user should be told beside
	// errors, as whole lines: that an image turned out to be corrupt, what was repaired
	// while it was opened. It may be called by several goroutines at once.
	Notify func(text string)

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
	// Driver that opened it; nil for a node that an embedder added itself.
	Driver *Driver
	// Filename as shown to people: the plain name where one suffices to open the node
	// again, else a json: description.
	Filename string
	// Options it was opened with, flattened, defaults left out.
	Options Options
	// Probed is set where the format was guessed from the contents.
	Probed bool

	graph   *Graph
	mode    Mode
	refs    int
	file    *Vertex       // child with the bytes, nil for protocols
	backing *Vertex       // what Backed.Backing is, nil for none
	others  []childVertex // every other child that this vertex holds a reference to

	detectZeroes   DetectZeroes
	openedWritable bool   // mode.Writable before any ReopenWritable
	temporary      string // file to remove once the node is closed, "" for none
}

// Ref adds a user.
func (v *Vertex) Ref() *Vertex {
	v.graph.mu.Lock()
	defer v.graph.mu.Unlock()
	v.refs++
	return v
}

// Unref removes a user; the last one closes the node, then its children.
func (v *Vertex) Unref() error {
	g := v.graph
	g.mu.Lock()
	v.refs--
	if v.refs > 0 {
		g.mu.Unlock()
		return nil
	}
	g.vertices = slices.DeleteFunc(g.vertices, func(w *Vertex) bool { return w == v })
	delete(g.byNode, v.Node)
	below := v.below()
	g.mu.Unlock()

	errs := []error{v.Node.Close()}
	for _, c := range below {
		errs = append(errs, c.Unref())
	}
	if v.temporary != "" {
		errs = append(errs, os.Remove(v.temporary))
	}
	return firstError(errs)
}

// firstError keeps one error as it is, so that its words stay; several are joined.
func firstError(errs []error) error {
	errs = slices.DeleteFunc(errs, func(e error) bool { return e == nil })
	if len(errs) == 1 {
		return errs[0]
	}
	return errors.Join(errs...)
}

// below lists every vertex that v holds a reference to. The graph is locked.
func (v *Vertex) below() []*Vertex {
	var out []*Vertex
	for _, c := range []*Vertex{v.backing, v.file} {
		if c != nil {
			out = append(out, c)
		}
	}
	for _, c := range v.others {
		out = append(out, c.vertex)
	}
	return out
}

// File is the child that holds the bytes, nil for protocols.
func (v *Vertex) File() *Vertex { return v.file }

// Backing is the vertex below, nil for none.
func (v *Vertex) Backing() *Vertex {
	v.graph.mu.Lock()
	defer v.graph.mu.Unlock()
	return v.backing
}

// SetBacking attaches b (or nil) below v, taking over the caller's reference to b and
// dropping the one to the old backing vertex.
func (v *Vertex) SetBacking(b *Vertex) error {
	n, ok := v.Node.(Backed)
	if !ok {
		return Errorf(ErrNotSupported, "set backing", v.Filename, "Driver '%s' does not support backing files", v.driverName())
	}
	if b != nil && slices.Contains(b.Chain(), v) {
		return Errorf(ErrInvalid, "set backing", v.Filename, "Making '%s' a backing child of '%s' would create a cycle", b.Name, v.Name)
	}
	v.graph.mu.Lock()
	old := v.backing
	v.backing = b
	if b == nil {
		n.SetBacking(nil)
	} else {
		n.SetBacking(b.Node)
	}
	v.graph.mu.Unlock()
	if old != nil {
		return old.Unref()
	}
	return nil
}

func (v *Vertex) driverName() string {
	if v.Driver == nil {
		return ""
	}
	return v.Driver.Name
}

// Mode is how the node is open at present.
func (v *Vertex) Mode() Mode {
	v.graph.mu.Lock()
	defer v.graph.mu.Unlock()
	return v.mode
}

// DetectZeroes is what is done about zeroes in writes to v.
func (v *Vertex) DetectZeroes() DetectZeroes { return v.detectZeroes }

// ReopenWritable switches v and what holds its bytes between read-only and read-write. On
// failure everything is as it was.
func (v *Vertex) ReopenWritable(writable bool) error {
	if v.Mode().Writable == writable {
		return nil
	}
	r, ok := v.Node.(Reopener)
	if !ok {
		return Errorf(ErrNotSupported, "reopen", v.Filename,
			"Driver '%s' does not support reopening files", v.driverName())
	}
	// The children are writable before their user writes, and as long as it may.
	if writable {
		if err := v.reopenChildren(true); err != nil {
			return err
		}
	}
	if err := r.ReopenWritable(writable); err != nil {
		if writable {
			return firstError([]error{err, v.reopenChildren(false)})
		}
		return err
	}
	v.graph.mu.Lock()
	v.mode.Writable = writable
	v.graph.mu.Unlock()
	if !writable {
		return v.reopenChildren(false)
	}
	return nil
}

// reopenChildren is ReopenWritable for all that hold v's bytes. A child that others write to
// stays writable.
func (v *Vertex) reopenChildren(writable bool) error {
	children := v.others
	if v.file != nil {
		children = append([]childVertex{{vertex: v.file}}, children...)
	}
	var changed []*Vertex
	for _, c := range children {
		if c.vertex.Mode().Writable == writable || !writable && v.graph.writtenBesides(c.vertex, v) {
			continue
		}
		if err := c.vertex.ReopenWritable(writable); err != nil {
			errs := []error{err}
			for _, done := range changed {
				errs = append(errs, done.ReopenWritable(!writable))
			}
			return firstError(errs)
		}
		changed = append(changed, c.vertex)
	}
	return nil
}

// writtenBesides tells if others than v may write to child: a vertex over it, or who holds
// a reference to it and found it writable.
func (g *Graph) writtenBesides(child, v *Vertex) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	holders := child.refs
	for _, w := range g.vertices {
		for _, c := range w.below() {
			if c != child {
				continue
			}
			holders--
			if w != v && w.mode.Writable && w.backing != child {
				return true
			}
		}
	}
	return holders > 0 && child.openedWritable
}

// Chain lists v and what lies below it, backing after backing.
func (v *Vertex) Chain() []*Vertex {
	v.graph.mu.Lock()
	defer v.graph.mu.Unlock()
	var out []*Vertex
	for ; v != nil; v = v.backing {
		out = append(out, v)
	}
	return out
}

// Vertices lists the graph's vertices, in order of creation.
func (g *Graph) Vertices() []*Vertex {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.vertices)
}

// Find returns the vertex of that node name.
func (g *Graph) Find(name string) (*Vertex, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v := g.find(name)
	return v, v != nil
}

func (g *Graph) find(name string) *Vertex {
	i := slices.IndexFunc(g.vertices, func(v *Vertex) bool { return v.Name == name })
	if i < 0 {
		return nil
	}
	return g.vertices[i]
}

// VertexOf returns the vertex of a node that this graph opened.
func (g *Graph) VertexOf(n Node) (*Vertex, bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	v, ok := g.byNode[n]
	return v, ok
}

// Add puts a node that was not opened by a driver into the graph: an embedder's own disk,
// or one made by a test. name may be "". The graph closes the node with its last user;
// the caller owns one reference.
func (g *Graph) Add(n Node, name string, m Mode) (*Vertex, error) {
	v := &Vertex{Node: n, Filename: name, Options: Options{}, mode: m}
	return v, g.insert(v, name)
}

// insert names v and makes it known.
func (g *Graph) insert(v *Vertex, name string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if name == "" {
		name = g.freeName()
	} else {
		if err := g.checkName(name); err != nil {
			return err
		}
	}
	v.Name, v.graph, v.refs = name, g, 1
	v.openedWritable = v.mode.Writable
	g.vertices = append(g.vertices, v)
	if g.byNode == nil {
		g.byNode = map[Node]*Vertex{}
	}
	g.byNode[v.Node] = v
	return nil
}

// freeName makes a name up. Users cannot take one: theirs begin with a letter.
func (g *Graph) freeName() string {
	g.nextName++
	return fmt.Sprintf("#block%03d", g.nextName)
}

// checkName tells if a user may give a node this name. The graph is locked.
func (g *Graph) checkName(name string) error {
	if !wellFormedID(name) {
		return Errorf(ErrInvalid, "open", "", "Invalid node-name: '%s'", name)
	}
	if g.find(name) != nil {
		return Errorf(ErrExists, "open", "", "Duplicate nodes with node-name='%s'", name)
	}
	return nil
}

// maxNodeName is how long a node name may be, as in QEMU.
const maxNodeName = 31

// wellFormedID tells if s is an identifier as QEMU wants it: a letter, then letters,
// digits and "-._".
func wellFormedID(s string) bool {
	for i, c := range []byte(s) {
		letter := c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !letter && (i == 0 || !(c >= '0' && c <= '9' || c == '-' || c == '.' || c == '_')) {
			return false
		}
	}
	return s != "" && len(s) <= maxNodeName
}
