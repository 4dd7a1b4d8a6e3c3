package img

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

// CommitOptions of [Commit].
type CommitOptions struct {
	Session
	Image Source
}

// Commit writes what an image holds itself into its backing file, and then empties it.
func Commit(ctx context.Context, o CommitOptions) (err error) {
	v, err := o.open(ctx, o.Image, access{writable: true, unmap: true})
	if err != nil {
		return err
	}
	defer release(v, &err)
	if v.Backing() == nil {
		return blockdev.Errorf(blockdev.ErrNotSupported, "commit", o.Image.label(), "Image does not have a backing file")
	}
	return v.Commit(ctx)
}
