package blockdev

import "context"

// Commit writes what the drive's medium holds into its backing file and empties it, as
// HMP commit and qemu-img commit do. Errors in QEMU's words.
func (d *Drive) Commit(ctx context.Context) error {
	d.change.Lock()
	defer d.change.Unlock()
	resume := d.Drain()
	defer resume()
	v := d.Medium()
	if v == nil {
		return Errorf(ErrNoMedium, "commit", d.config.Name, "Device '%s' has no medium", d.config.Name)
	}
	return v.Commit(ctx, CommitOptions{})
}

// CommitOptions of [Vertex.Commit].
type CommitOptions struct {
	// Base is the node to write into, anywhere below; nil for the next one.
	Base *Vertex
	// Keep leaves the images above Base as they are, as with a base further down they
	// always are.
	Keep bool
	// Copy steers the copying.
	Copy CopyOptions
}

// Commit writes what v itself holds, or all that lies above a base further down, into the
// base, which is made longer if it is shorter, and then empties v. Nobody may write to v
// meanwhile. A base that is read-only is reopened for that long.
//
// An image that is no [Emptier] is left as it is, which is correct too: it says what its
// backing file now says as well. (Discarding everything instead would not do: formats do
// not agree on whether a discarded range is read from the backing file or as zeroes.)
//
// v is emptied when its backing file is safe on disk, not before: whatever fails leaves v
// reading as it did.
func (v *Vertex) Commit(ctx context.Context, o CommitOptions) (err error) {
	base := o.Base
	if base == nil {
		base = v.Backing()
	}
	o.Keep = o.Keep || base != v.Backing()
	switch {
	case base == nil:
		return Errorf(ErrNotSupported, "commit", v.Filename, "Operation not supported")
	case !v.Mode().Writable:
		return Errorf(ErrReadOnly, "commit", v.Filename, "Permission denied")
	case v.graph.sharedBacking(base, aboveIn(v, base)):
		return Errorf(ErrInUse, "commit", v.Filename, "Device or resource busy")
	}
	if !base.Mode().Writable {
		if err := base.ReopenWritable(true); err != nil {
			return err
		}
		defer func() { err = firstError([]error{err, base.ReopenWritable(false)}) }()
	}
	if err := v.copyInto(ctx, base, o.Copy); err != nil || o.Keep {
		return err
	}
	return v.makeEmpty()
}

// aboveIn is the vertex right above base in the chain of v.
func aboveIn(v, base *Vertex) *Vertex {
	for w := v; w != nil; w = w.Backing() {
		if w.Backing() == base {
			return w
		}
	}
	return v
}

// copyInto carries the data above base over to it and onto the disk.
func (v *Vertex) copyInto(ctx context.Context, base *Vertex, o CopyOptions) error {
	if size := v.Node.Size(); size > base.Node.Size() {
		if err := Resize(base.Node, size, ResizeOptions{}); err != nil {
			return err
		}
	}
	o.Base = base.Node
	if err := Copy(ctx, base.Node, v.Node, o); err != nil {
		return err
	}
	return base.Node.Flush()
}

func (v *Vertex) makeEmpty() error {
	if e, ok := v.Node.(Emptier); ok {
		if err := e.MakeEmpty(); err != nil {
			return Because("Failed to empty "+v.Filename, err)
		}
	}
	return v.Node.Flush()
}

// sharedBacking tells if another vertex than v is over base.
func (g *Graph) sharedBacking(base, v *Vertex) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, other := range g.vertices {
		if other == v {
			continue
		}
		for _, c := range other.below() {
			if c == base {
				return true
			}
		}
	}
	return false
}
