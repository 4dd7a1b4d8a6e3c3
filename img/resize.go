package img

import (
	"context"
	"errors"
	"math"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// SizeChange says what [Resize] makes of the present size.
type SizeChange struct {
	Bytes    int64 // a new size, or what to add to the present one
	Relative bool
}

// ResizeOptions of [Resize].
type ResizeOptions struct {
	Session
	Image Source
	Size  SizeChange
	// Preallocation of what is added: "off" (also ""), "metadata", "falloc", "full".
	Preallocation string
	// Shrink allows the image to become smaller, which throws data away.
	Shrink bool
}

// preallocations are the words of ResizeOptions.Preallocation.
var preallocations = []string{"", "off", "metadata", "falloc", "full"}

// ErrShrink says that an image would become smaller without ResizeOptions.Shrink;
// ShrinkWarning tells its user why that is worth a thought.
var ErrShrink = errors.New("Use the --shrink option to perform a shrink operation.")

// ShrinkWarning is what Resize warns of where it refuses to shrink an image.
const ShrinkWarning = "Shrinking an image will delete all data beyond the shrunken image's end. " +
	"Before performing such an operation, make sure there is no important data there."

// Resize changes the virtual size of an image and returns the new one, in bytes.
func Resize(ctx context.Context, o ResizeOptions) (size int64, err error) {
	if !slices.Contains(preallocations, o.Preallocation) {
		return 0, blockdev.Errorf(blockdev.ErrInvalid, "resize", o.Image.label(),
			"Invalid preallocation mode '%s'", o.Preallocation)
	}
	v, err := o.open(ctx, o.Image, access{writable: true, unmap: true})
	if err != nil {
		return 0, err
	}
	defer release(v, &err)
	size, err = o.newSize(v.Node.Size())
	if err != nil {
		return 0, err
	}
	err = blockdev.Resize(v.Node, size, blockdev.ResizeOptions{Preallocation: o.Preallocation, Shrink: o.Shrink, Exact: true})
	return v.Node.Size(), err
}

// newSize applies the change to the present size, and refuses what makes no sense.
func (o ResizeOptions) newSize(present int64) (int64, error) {
	size := o.Size.Bytes
	if o.Size.Relative {
		if size > 0 && present > math.MaxInt64-size {
			size = 0
		} else {
			size += present
		}
	}
	refuse := func(text string) (int64, error) {
		return 0, blockdev.Errorf(blockdev.ErrInvalid, "resize", o.Image.label(), "%s", text)
	}
	switch {
	case size <= 0:
		return refuse("New image size must be positive")
	case size <= present && o.Preallocation != "" && o.Preallocation != "off":
		return refuse("Preallocation can only be used for growing images")
	case size < present && !o.Shrink:
		return 0, &blockdev.Error{Kind: blockdev.ErrInvalid, Op: "resize", File: o.Image.label(),
			Offset: blockdev.NoOffset, Err: ErrShrink}
	}
	return size, nil
}
