package img

import (
	"bytes"
	"context"
	"errors"

	"github.com/qmon/qmon/blockdev"
)

// RebaseOptions of [Rebase].
type RebaseOptions struct {
	Session
	Image Source
	// Backing is the new backing file, relative to the image as it will be recorded; "" for
	// none. BackingFormat is recorded too, and opens it.
	Backing, BackingFormat string
	// BackingCache is the cache mode that the old and the new backing file are read with.
	BackingCache blockdev.CacheMode
	// BackingForceShare is Source.ForceShare of the new backing file.
	BackingForceShare bool
	// Unsafe changes the name only: the new backing file is expected to hold the same, and
	// neither is opened.
	Unsafe bool
	// Progress is called with the bytes done so far.
	Progress func(done, total int64)
}

// Rebase puts an image over another backing file. What reads differently from there is
// written into the image first, so that its contents stay.
func Rebase(ctx context.Context, o RebaseOptions) (err error) {
	if o.BackingFormat != "" {
		if _, err := blockdev.LookupDriver(o.BackingFormat); err != nil {
			return invalid("rebase", o.Image.label(), "Invalid format name: '"+o.BackingFormat+"'")
		}
	}
	g := o.graph()
	v, err := o.openIn(ctx, g, o.Image, access{writable: true, unmap: true, noBacking: o.Unsafe})
	if err != nil {
		return err
	}
	defer release(v, &err)
	backed, ok := v.Node.(blockdev.Backed)
	if !ok {
		return wrap("rebase", o.Image.label(), "Could not change the backing file to '"+o.Backing+"'",
			blockdev.Errorf(blockdev.ErrNotSupported, "rebase", o.Image.label(), "Operation not supported"))
	}
	if !o.Unsafe {
		if err := o.keepContents(ctx, g, v); err != nil {
			return err
		}
	}
	if o.Backing != "" && o.BackingFormat == "" {
		return wrap("rebase", o.Image.label(), "Could not change the backing file to '"+o.Backing+"'",
			invalid("rebase", o.Image.label(), "backing format must be specified"))
	}
	if err := backed.ChangeBackingReference(o.Backing, o.BackingFormat); err != nil {
		return wrap("rebase", o.Image.label(), "Could not change the backing file to '"+o.Backing+"'", err)
	}
	if o.Progress != nil {
		o.Progress(v.Node.Size(), v.Node.Size())
	}
	return nil
}

// keepContents writes into v what would read differently over the new backing file.
func (o RebaseOptions) keepContents(ctx context.Context, g *blockdev.Graph, v *blockdev.Vertex) (err error) {
	r := rebaser{ctx: ctx, top: v.Node, old: blockdev.BackingOf(v.Node), progress: o.Progress}
	if o.Backing != "" {
		b, err := o.openBacking(ctx, g)
		if err != nil {
			return wrap("rebase", o.Image.label(), "Could not open new backing file '"+o.Backing+"'", err)
		}
		defer release(b, &err)
		r.new = b.Node
	}
	if err := r.run(); err != nil {
		return err
	}
	return v.Node.Flush()
}

// openBacking opens the new backing file, which the user named, not an image: it may be a
// description or on another protocol.
func (o RebaseOptions) openBacking(ctx context.Context, g *blockdev.Graph) (*blockdev.Vertex, error) {
	ref := blockdev.Reference{Kind: blockdev.RefBacking, Parent: o.Image.Filename, Name: o.Backing}
	name, err := blockdev.ResolveReference(ref)
	if errors.Is(err, blockdev.ErrDenied) {
		name, err = o.Backing, nil
	}
	if err != nil {
		return nil, err
	}
	return g.Open(ctx, name, blockdev.OpenOptions{
		Driver: o.BackingFormat,
		Gate:   o.Gate,
		Mode:   blockdev.Mode{Cache: o.BackingCache, ForceShare: o.BackingForceShare},
	})
}

// rebaser compares two backing nodes below an image and copies up what differs.
type rebaser struct {
	ctx      context.Context
	top      blockdev.Node
	old, new blockdev.Node // nil for none
	progress func(done, total int64)

	bufs [2][]byte
}

const (
	rebaseChunk = 2 << 20  // bytes compared at a time
	rebaseGrain = 64 << 10 // bytes written at a time if they differ
)

func (r *rebaser) run() error {
	r.bufs = [2][]byte{make([]byte, rebaseChunk), make([]byte, rebaseChunk)}
	size := r.top.Size()
	for off := int64(0); off < size; {
		if err := r.ctx.Err(); err != nil {
			return err
		}
		e, err := r.top.Map(off, min(size-off, rebaseChunk))
		if err != nil {
			return rebaseFailure(off, "error while reading image metadata", err)
		}
		if e.Kind == blockdev.ExtentUnallocated {
			if err := r.keep(off, e.Len); err != nil {
				return err
			}
		}
		off += e.Len
		if r.progress != nil {
			r.progress(off, size)
		}
	}
	return nil
}

// keep handles n bytes at off that are not in the image itself.
func (r *rebaser) keep(off, n int64) error {
	same, err := r.bothEmpty(off, n)
	if err != nil {
		return rebaseFailure(off, "error while reading image metadata", err)
	}
	if same {
		return nil
	}
	before, after := r.bufs[0][:n], r.bufs[1][:n]
	if err := readBelow(r.old, before, off); err != nil {
		return blockdev.ErrorAt(err, "rebase", "", off, "error while reading from old backing file")
	}
	if err := readBelow(r.new, after, off); err != nil {
		return blockdev.ErrorAt(err, "rebase", "", off, "error while reading from new backing file")
	}
	for at := int64(0); at < n; at += rebaseGrain {
		end := min(at+rebaseGrain, n)
		if bytes.Equal(before[at:end], after[at:end]) {
			continue
		}
		// As with QEMU: zeroes that the old backing file has are data.
		if r.old == nil || off+at >= r.old.Size() {
			err = blockdev.WriteZeroes(r.top, off+at, end-at, blockdev.ZeroMayUnmap)
		} else {
			_, err = r.top.WriteAt(before[at:end], off+at)
		}
		if err != nil {
			return rebaseFailure(off+at, "Error while writing to COW image", err)
		}
	}
	return nil
}

func rebaseFailure(off int64, text string, err error) error {
	return &blockdev.Error{Op: "rebase", Offset: off, Text: text, Err: err}
}

// bothEmpty tells if neither backing node has anything at a range.
func (r *rebaser) bothEmpty(off, n int64) (bool, error) {
	for _, node := range []blockdev.Node{r.old, r.new} {
		if node == nil || off >= node.Size() {
			continue
		}
		s, err := blockdev.BlockStatus(node, off, min(n, node.Size()-off), nil)
		if err != nil {
			return false, err
		}
		empty := s.Kind == blockdev.ExtentZero || s.Kind == blockdev.ExtentUnallocated
		if !empty || s.Len < min(n, node.Size()-off) {
			return false, nil
		}
	}
	return true, nil
}

// readBelow reads from a backing node, which may be missing or end early: zeroes then.
func readBelow(n blockdev.Node, p []byte, off int64) error {
	have := int64(0)
	if n != nil {
		have = min(max(n.Size()-off, 0), int64(len(p)))
	}
	clear(p[have:])
	if have == 0 {
		return nil
	}
	_, err := n.ReadAt(p[:have], off)
	return err
}
