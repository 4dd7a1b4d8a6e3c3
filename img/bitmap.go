package img

import (
	"context"
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// BitmapOptions of [Bitmaps] and [ChangeBitmap].
type BitmapOptions struct {
	Session
	Image Source
	// Name of the bitmap to be changed.
	Name string
	// Granularity of a bitmap that is added, in bytes; 0 for the image's choice.
	Granularity int64
	// Actions are done in this order. If one fails those before it stand.
	Actions []BitmapAction
	// From is the image whose bitmaps are merged, nil for Image itself.
	From *Source
}

// BitmapAction is one change of a bitmap.
type BitmapAction struct {
	Kind BitmapActionKind
	// Source is the bitmap to be merged, for BitmapMerge.
	Source string
}

// BitmapActionKind says what is done to a bitmap.
type BitmapActionKind string

// The kinds of BitmapAction. A bitmap that was added is enabled.
const (
	BitmapAdd     BitmapActionKind = "add"
	BitmapRemove  BitmapActionKind = "remove"
	BitmapClear   BitmapActionKind = "clear"
	BitmapEnable  BitmapActionKind = "enable"
	BitmapDisable BitmapActionKind = "disable"
	BitmapMerge   BitmapActionKind = "merge"
)

// Bitmap is a persistent dirty bitmap.
type Bitmap struct {
	blockdev.BitmapInfo
	// Dirty is how many bytes are dirty, in whole granules; 0 for an inconsistent bitmap.
	Dirty int64
}

// Bitmaps lists the dirty bitmaps that are kept with an image; formats without any have
// none.
func Bitmaps(ctx context.Context, o BitmapOptions) (list []Bitmap, err error) {
	v, err := o.open(ctx, o.Image, access{noBacking: true})
	if err != nil {
		return nil, err
	}
	defer release(v, &err)
	store, ok := v.Node.(blockdev.BitmapStore)
	if !ok {
		return nil, nil
	}
	infos, err := store.Bitmaps()
	if errors.Is(err, blockdev.ErrNotSupported) {
		return nil, nil
	}
	for _, info := range infos {
		b := Bitmap{BitmapInfo: info}
		if !info.Inconsistent {
			d, err := store.DirtyBitmap(info.Name)
			if err != nil {
				return nil, err
			}
			b.Dirty = d.Dirty()
		}
		list = append(list, b)
	}
	return list, err
}

// ChangeBitmap changes a dirty bitmap that is kept with an image.
func ChangeBitmap(ctx context.Context, o BitmapOptions) (err error) {
	g := o.graph()
	v, err := o.openIn(ctx, g, o.Image, access{writable: true})
	if err != nil {
		return err
	}
	defer release(v, &err)
	from := v
	if o.From != nil {
		if from, err = o.openIn(ctx, g, *o.From, access{noIO: true, noBacking: true}); err != nil {
			return err
		}
		defer release(from, &err)
	}
	for _, a := range o.Actions {
		if err := o.act(a, v, from); err != nil {
			return wrap("bitmap", o.Image.label(), fmt.Sprintf("Operation %s on bitmap %s failed", a.Kind, o.Name), err)
		}
	}
	return nil
}

// act does one action on the image v. What is merged comes from the image from.
func (o BitmapOptions) act(a BitmapAction, v, from *blockdev.Vertex) error {
	store, err := bitmapStore(v, o.Name, a.Kind == BitmapAdd)
	if err != nil {
		return err
	}
	switch a.Kind {
	case BitmapAdd:
		err := store.AddBitmap(blockdev.BitmapInfo{Name: o.Name, Granularity: o.Granularity, Enabled: true})
		return cannotPersist(err, o.Name, v)
	case BitmapRemove:
		return store.RemoveBitmap(o.Name)
	case BitmapClear:
		return store.ClearBitmap(o.Name)
	case BitmapEnable, BitmapDisable:
		return store.EnableBitmap(o.Name, a.Kind == BitmapEnable)
	case BitmapMerge:
		other, err := bitmapStore(from, a.Source, false)
		if err != nil {
			return err
		}
		d, err := other.DirtyBitmap(a.Source)
		if err != nil {
			return err
		}
		return store.MergeBitmap(o.Name, d)
	}
	return invalid("bitmap", o.Image.label(), fmt.Sprintf("Unknown action '%s'", a.Kind))
}

// bitmapStore is what keeps the bitmaps of v, or the error about the named one.
func bitmapStore(v *blockdev.Vertex, name string, add bool) (blockdev.BitmapStore, error) {
	if store, ok := v.Node.(blockdev.BitmapStore); ok {
		return store, nil
	}
	if add && name != "" {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "bitmap", v.Filename,
			"Can't store persistent bitmaps to %s: Operation not supported", v.Name)
	}
	if add {
		return nil, invalid("bitmap", v.Filename, "Bitmap name cannot be empty")
	}
	return nil, blockdev.Errorf(blockdev.ErrNotFound, "bitmap", v.Filename, "Dirty bitmap '%s' not found", name)
}

// cannotPersist words why v cannot keep a bitmap that is all right in itself.
func cannotPersist(err error, name string, v *blockdev.Vertex) error {
	if errors.Is(err, blockdev.ErrNotSupported) || errors.Is(err, blockdev.ErrLimit) {
		return wrap("bitmap", v.Filename, fmt.Sprintf("Can't make bitmap '%s' persistent in '%s'", name, v.Name), err)
	}
	return err
}
