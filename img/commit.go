package img

import (
	"context"
	"path/filepath"

	"github.com/qmon/qmon/blockdev"
)

// CommitOptions of [Commit].
type CommitOptions struct {
	Session
	Image Source
	// Base names the image of the chain to write into, "" for the backing file. All images
	// above it are left as they are.
	Base string
	// Keep leaves the image as it is, too.
	Keep bool
	// RateLimit is how many bytes may be copied in a second, 0 for any number.
	RateLimit int64
	// Progress is called with the bytes of the disk done so far.
	Progress func(done, total int64)
}

// Commit writes what an image holds itself into its backing file, and then empties it.
func Commit(ctx context.Context, o CommitOptions) (err error) {
	v, err := o.open(ctx, o.Image, access{writable: true, unmap: true})
	if err != nil {
		return err
	}
	defer release(v, &err)
	base, err := o.base(v)
	if err != nil {
		return err
	}
	err = v.Commit(ctx, blockdev.CommitOptions{
		Base: base,
		Keep: o.Keep || o.Base != "",
		Copy: blockdev.CopyOptions{RateLimit: o.RateLimit, Progress: o.Progress},
	})
	if e := copyFailure(err); e != nil {
		return wrap("commit", o.Image.label(), "Block job failed", e.Err)
	}
	return err
}

// base finds the image to write into.
func (o CommitOptions) base(v *blockdev.Vertex) (*blockdev.Vertex, error) {
	if o.Base == "" && v.Backing() == nil {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "commit", o.Image.label(), "Image does not have a backing file")
	}
	if o.Base == "" {
		return v.Backing(), nil
	}
	for w := v; w.Backing() != nil; w = w.Backing() {
		recorded := ""
		if b, ok := w.Node.(blockdev.Backed); ok {
			recorded = b.BackingReference().Name
		}
		// A name means a file beside the image that has it recorded.
		name, err := blockdev.ResolveReference(blockdev.Reference{Parent: w.Filename, Name: o.Base})
		if o.Base == recorded || err == nil && samePath(name, w.Backing().Filename) {
			return w.Backing(), nil
		}
	}
	return nil, blockdev.Errorf(blockdev.ErrNotFound, "commit", o.Image.label(),
		"Did not find '%s' in the backing chain of '%s'", o.Base, o.Image.label())
}

// samePath tells if two names are of one file.
func samePath(a, b string) bool {
	realA, errA := filepath.EvalSymlinks(a)
	realB, errB := filepath.EvalSymlinks(b)
	if errA != nil || errB != nil {
		return false
	}
	absA, errA := filepath.Abs(realA)
	absB, errB := filepath.Abs(realB)
	return errA == nil && errB == nil && absA == absB
}
