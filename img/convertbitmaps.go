package img

import (
	"errors"
	"fmt"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// findBitmaps finds the bitmaps that are to be copied, the last one first as with QEMU. All
// must be in order, unless broken ones may be left out.
func (c *conversion) findBitmaps() (err error) {
	if !c.o.Bitmaps {
		return nil
	}
	if len(c.sources) > 1 {
		return invalid("convert", "", "Copying bitmaps only possible with single source")
	}
	v := c.sources[0]
	store, ok := v.Node.(blockdev.BitmapStore)
	if ok {
		c.bitmaps, err = store.Bitmaps()
	}
	if !ok || errors.Is(err, blockdev.ErrNotSupported) {
		return blockdev.Errorf(blockdev.ErrNotSupported, "convert", v.Filename, "Source lacks bitmap support")
	}
	if err != nil {
		return err
	}
	slices.Reverse(c.bitmaps)
	for _, b := range c.bitmaps {
		if b.Inconsistent && !c.o.SkipBrokenBitmaps {
			return blockdev.Errorf(blockdev.ErrCorrupt, "convert", v.Filename,
				"Cannot copy inconsistent bitmap '%s'\nTry --skip-broken-bitmaps, or use 'qemu-img bitmap --remove' to delete it", b.Name)
		}
	}
	return nil
}

// checkBitmapTarget refuses a target that cannot hold the bitmaps.
func (c *conversion) checkBitmapTarget(dst *blockdev.Vertex) error {
	if !c.o.Bitmaps {
		return nil
	}
	if store, ok := dst.Node.(blockdev.BitmapStore); ok {
		if _, err := store.Bitmaps(); !errors.Is(err, blockdev.ErrNotSupported) {
			return err
		}
	}
	return blockdev.Errorf(blockdev.ErrNotSupported, "convert", c.o.Target.label(),
		"Format driver '%s' does not support bitmaps", dst.Driver.Name)
}

// copyBitmaps makes the bitmaps of the source in the target. They are enabled last, so that
// they say nothing of the conversion.
func (c *conversion) copyBitmaps(dst *blockdev.Vertex) error {
	for _, b := range c.bitmaps {
		if b.Inconsistent {
			c.o.warn(fmt.Sprintf("warning: Skipping inconsistent bitmap '%s'\n", b.Name))
			continue
		}
		if err := copyBitmap(dst, c.sources[0], b); err != nil {
			return err
		}
	}
	return nil
}

func copyBitmap(dst, src *blockdev.Vertex, b blockdev.BitmapInfo) error {
	failed := func(what string, err error) error {
		return wrap("convert", dst.Filename, fmt.Sprintf("Failed to %s bitmap %s", what, b.Name), err)
	}
	store, err := bitmapStore(dst, b.Name, true)
	if err != nil {
		return failed("create", err)
	}
	added := b
	added.Enabled = false
	if err := cannotPersist(store.AddBitmap(added), b.Name, dst); err != nil {
		return failed("create", err)
	}
	d, err := src.Node.(blockdev.BitmapStore).DirtyBitmap(b.Name)
	if err == nil {
		err = store.MergeBitmap(b.Name, d)
	}
	if err != nil {
		_ = store.RemoveBitmap(b.Name) // the error is why
		return failed("populate", err)
	}
	if !b.Enabled {
		return nil
	}
	return store.EnableBitmap(b.Name, true)
}
