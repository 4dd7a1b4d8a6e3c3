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
	return v.Commit(ctx)
}

// Commit writes what v itself holds into its backing node, which is made longer if it is
// shorter, and then empties v. Nobody may write to v meanwhile. A backing node that is
// read-only is reopened for that long.
//
// An image that is no [Emptier] is left as it is, which is correct too: it says what its
// backing file now says as well. (Discarding everything instead would not do: formats do
// not agree on whether a discarded range is read from the backing file or as zeroes.)
//
// v is emptied when its backing file is safe on disk, not before: whatever fails leaves v
// reading as it did.
func (v *Vertex) Commit(ctx context.Context) (err error) {
	base := v.Backing()
	switch {
	case base == nil:
		return Errorf(ErrNotSupported, "commit", v.Filename, "Operation not supported")
	case !v.Mode().Writable:
		return Errorf(ErrReadOnly, "commit", v.Filename, "Permission denied")
	case v.graph.sharedBacking(base, v):
		return Errorf(ErrInUse, "commit", v.Filename, "Device or resource busy")
	}
	if !base.Mode().Writable {
		if err := base.ReopenWritable(true); err != nil {
			return err
		}
		defer func() { err = firstError([]error{err, base.ReopenWritable(false)}) }()
	}
	if err := v.copyInto(ctx, base); err != nil {
		return err
	}
	return v.makeEmpty()
}

// copyInto carries v's own data over to base and onto the disk.
func (v *Vertex) copyInto(ctx context.Context, base *Vertex) error {
	if size := v.Node.Size(); size > base.Node.Size() {
		if err := Resize(base.Node, size, ResizeOptions{}); err != nil {
			return err
		}
	}
	if err := Copy(ctx, base.Node, v.Node, CopyOptions{Base: base.Node}); err != nil {
		return err
	}
	return base.Node.Flush()
}

func (v *Vertex) makeEmpty() error {
	if e, ok := v.Node.(Emptier); ok {
		if err := e.MakeEmpty(); err != nil {
			return err
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
