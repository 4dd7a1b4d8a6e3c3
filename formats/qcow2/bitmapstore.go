package qcow2

import (
	"math/bits"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// bitmap is a dirty bitmap of the image. All changes are made in memory; the file gets
// them when the image is closed, as with QEMU.
type bitmap struct {
	// bitmapEntry is what the directory will say. The flag "in use" is set in that of an
	// inconsistent bitmap only.
	bitmapEntry
	dirty   *blockdev.DirtyBitmap // nil until it is asked for
	unsaved bool                  // dirty is not what the table says
}

func (b *bitmap) enabled() bool { return b.flags&bitmapAuto != 0 }

// Default granularity of a bitmap: a cluster, within these bounds.
const (
	minDefaultGranularity = 4 << 10
	maxDefaultGranularity = 64 << 10
)

// Bitmaps lists the bitmaps in the order of the directory.
func (im *Image) Bitmaps() ([]blockdev.BitmapInfo, error) {
	im.mu.RLock()
	defer im.mu.RUnlock()
	if im.version.Load() < 3 {
		return nil, im.bitmapError(blockdev.ErrNotSupported, "Cannot store dirty bitmaps in qcow2 v2 files")
	}
	out := make([]blockdev.BitmapInfo, 0, len(im.bitmaps))
	for _, b := range im.bitmaps {
		out = append(out, blockdev.BitmapInfo{
			Name: b.name, Granularity: 1 << b.granularity, Enabled: b.enabled(),
			Inconsistent: b.flags&bitmapInUse != 0,
		})
	}
	return out, nil
}

// DirtyBitmap gives the contents of a bitmap.
func (im *Image) DirtyBitmap(name string) (*blockdev.DirtyBitmap, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	b, err := im.consistentBitmap(name)
	if err != nil {
		return nil, err
	}
	return b.dirty, nil
}

func (im *Image) findBitmap(name string) int {
	return slices.IndexFunc(im.bitmaps, func(b *bitmap) bool { return b.name == name })
}

// consistentBitmap finds a bitmap that can be used, with its contents. mu is held.
func (im *Image) consistentBitmap(name string) (*bitmap, error) {
	i := im.findBitmap(name)
	if i < 0 {
		return nil, im.bitmapError(blockdev.ErrNotFound, "Dirty bitmap '%s' not found", name)
	}
	b := im.bitmaps[i]
	if err := im.checkConsistent(b); err != nil {
		return nil, err
	}
	return b, im.loadBitmap(b)
}

func (im *Image) checkConsistent(b *bitmap) error {
	if b.flags&bitmapInUse != 0 {
		return im.bitmapError(blockdev.ErrCorrupt,
			"Bitmap '%s' is inconsistent and cannot be used\nTry block-dirty-bitmap-remove to delete this bitmap from disk", b.name)
	}
	if !b.usable() {
		return im.bitmapError(blockdev.ErrNotSupported, "Bitmap '%s' has a type, flags or extra data of unknown meaning", b.name)
	}
	return nil
}

// changeBitmaps runs a change of the list of bitmaps, or of one in it, in memory.
func (im *Image) changeBitmaps(f func() error) error {
	if err := im.checkWritable("bitmap"); err != nil {
		return err
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := f(); err != nil {
		return err
	}
	im.bitmapsChanged = true
	im.updateTracker()
	return nil
}

// AddBitmap makes a clean bitmap.
func (im *Image) AddBitmap(info blockdev.BitmapInfo) error {
	return im.changeBitmaps(func() error {
		granularity := info.Granularity
		if granularity == 0 {
			granularity = min(max(im.clusterSize, minDefaultGranularity), maxDefaultGranularity)
		}
		if err := im.checkNewBitmap(info.Name); err != nil {
			return err
		}
		dirty, err := blockdev.NewDirtyBitmap(im.Size(), granularity)
		if err != nil {
			return err
		}
		b := &bitmap{dirty: dirty, unsaved: true, bitmapEntry: bitmapEntry{
			kind: bitmapTypeDirty, granularity: uint(bits.TrailingZeros64(uint64(granularity))), name: info.Name,
		}}
		if info.Enabled {
			b.flags = bitmapAuto
		}
		// The newest of those that the file does not have yet comes first, as with QEMU.
		at := slices.IndexFunc(im.bitmaps, func(b *bitmap) bool { return b.table == 0 })
		if at < 0 {
			at = len(im.bitmaps)
		}
		im.bitmaps = slices.Insert(slices.Clone(im.bitmaps), at, b)
		return nil
	})
}

func (im *Image) checkNewBitmap(name string) error {
	size := (&bitmapEntry{name: name}).encodedSize()
	for _, b := range im.bitmaps {
		size += b.encodedSize()
	}
	switch {
	case name == "":
		return im.bitmapError(blockdev.ErrInvalid, "Bitmap name cannot be empty")
	case im.findBitmap(name) >= 0:
		return im.bitmapError(blockdev.ErrExists, "Bitmap already exists: %s", name)
	case im.version.Load() < 3:
		return im.bitmapError(blockdev.ErrNotSupported, "Cannot store dirty bitmaps in qcow2 v2 files")
	case len(name) > maxBitmapName:
		return im.bitmapError(blockdev.ErrLimit, "Name length exceeds maximum (1023 characters)")
	case im.Size() == 0:
		return im.bitmapError(blockdev.ErrNotSupported, "The disk is empty")
	case len(im.bitmaps) >= maxBitmaps:
		return im.bitmapError(blockdev.ErrLimit, "Maximum number of persistent bitmaps is already reached")
	case size > maxBitmapDirectory:
		return im.bitmapError(blockdev.ErrLimit, "Not enough space in the bitmap directory")
	}
	return nil
}

// RemoveBitmap forgets a bitmap, be it consistent or not.
func (im *Image) RemoveBitmap(name string) error {
	return im.changeBitmaps(func() error {
		i := im.findBitmap(name)
		if i < 0 {
			return im.bitmapError(blockdev.ErrNotFound, "Dirty bitmap '%s' not found", name)
		}
		im.bitmaps = slices.Delete(slices.Clone(im.bitmaps), i, i+1)
		return nil
	})
}

// ClearBitmap makes a bitmap clean.
func (im *Image) ClearBitmap(name string) error {
	return im.changeBitmap(name, func(b *bitmap) error {
		b.dirty.Clear()
		return nil
	})
}

// EnableBitmap makes a bitmap follow writes from now on, or not any more.
func (im *Image) EnableBitmap(name string, on bool) error {
	return im.changeBitmap(name, func(b *bitmap) error {
		b.flags &^= bitmapAuto
		if on {
			b.flags |= bitmapAuto
		}
		return nil
	})
}

// MergeBitmap makes dirty what is dirty in from too.
func (im *Image) MergeBitmap(name string, from *blockdev.DirtyBitmap) error {
	return im.changeBitmap(name, func(b *bitmap) error { return b.dirty.Merge(from) })
}

func (im *Image) changeBitmap(name string, f func(b *bitmap) error) error {
	return im.changeBitmaps(func() error {
		b, err := im.consistentBitmap(name)
		if err != nil {
			return err
		}
		b.unsaved = true
		return f(b)
	})
}
