package qcow2

import (
	"encoding/binary"
	"errors"
	"sync/atomic"

	"github.com/qmon/qmon/blockdev"
)

// Enabled bitmaps follow the guest's writes in memory. As long as the image is open for
// writing the file calls all bitmaps in use, which is to say out of date: section "Bitmap
// directory", and as QEMU does. When it is closed they are stored, and are in use no more.

// tracker is the enabled bitmaps as the writers of guest data see them.
type tracker struct {
	// ready is set when the bitmaps are loaded.
	ready atomic.Bool
	list  []*blockdev.DirtyBitmap
}

// openBitmaps reads the directory. Bitmaps that cannot be understood are as good as none:
// what the header says of them is left alone until somebody writes.
func (im *Image) openBitmaps() error {
	if !im.hdr.hasBitmaps() {
		if im.v3() && im.hdr.extensionData(extBitmaps) != nil {
			im.tell("warning: a program lacking bitmap support modified this file, so all bitmaps are now considered inconsistent\n" +
				"Some clusters may be leaked, run 'qemu-img check -r' on the image file to fix.")
		}
		return nil
	}
	list, err := im.readBitmaps()
	if errors.Is(err, blockdev.ErrCorrupt) {
		return nil
	}
	if err != nil {
		return err
	}
	im.bitmapsStored = list
	for _, b := range list {
		im.bitmaps = append(im.bitmaps, &bitmap{bitmapEntry: b})
	}
	return nil
}

// prepareBitmaps gets ready for writing. It tells if the bitmaps stay valid; else the
// autoclear bit has to go.
func (im *Image) prepareBitmaps() (bool, error) {
	if len(im.bitmapsStored) == 0 {
		return false, nil
	}
	// What the header calls the directory may be another table.
	if off, size, _ := im.bitmapDirectory(); im.metadataBut(overlapBitmapDirectory, off, size) != "" {
		im.bitmaps, im.bitmapsStored = nil, nil
		return false, nil
	}
	if im.mode.Check {
		return true, nil // repairs leave guest data alone
	}
	im.updateTracker()
	return true, im.markBitmaps()
}

// updateTracker makes the tracker of the bitmaps that are enabled now. It is not ready if
// there is one that is not loaded, or would not be stored. mu is held.
func (im *Image) updateTracker() {
	var t *tracker
	ready := true
	for _, b := range im.bitmaps {
		if !b.enabled() || b.flags&bitmapInUse != 0 {
			continue
		}
		if t == nil {
			t = &tracker{}
		}
		ready = ready && b.unsaved
		t.list = append(t.list, b.dirty)
	}
	if t != nil {
		t.ready.Store(ready)
	}
	im.tracker.Store(t)
}

// tracked runs a change of guest data. The range is dirty from before it, for those who
// store a bitmap meanwhile, until after it, for those who have read the old data meanwhile
// and cleared the bitmap.
func (im *Image) tracked(off, n int64, change func() error) error {
	if t := im.tracker.Load(); t != nil && !t.ready.Load() {
		if err := im.startTracking(); err != nil {
			return err
		}
	}
	im.setDirtyBits(off, n)
	err := change()
	im.setDirtyBits(off, n)
	return err
}

func (im *Image) setDirtyBits(off, n int64) {
	t := im.tracker.Load()
	if t == nil || !t.ready.Load() {
		return
	}
	for _, d := range t.list {
		d.Set(off, n)
	}
}

// startTracking loads the enabled bitmaps. One that cannot be loaded is inconsistent.
func (im *Image) startTracking() error {
	im.mu.Lock()
	defer im.mu.Unlock()
	for _, b := range im.bitmaps {
		if !b.enabled() || b.flags&bitmapInUse != 0 {
			continue
		}
		err := im.checkConsistent(b)
		if err == nil {
			err = im.loadBitmap(b)
		}
		if err != nil {
			b.flags |= bitmapInUse
			continue
		}
		b.unsaved = true
	}
	im.bitmapsChanged = true
	im.updateTracker()
	return nil
}

// markBitmaps sets the flag "in use" of all bitmaps in the file's directory. mu is held.
func (im *Image) markBitmaps() error {
	for _, b := range im.bitmapsStored {
		if err := im.writeBitmapFlags(b, b.flags|bitmapInUse); err != nil {
			return err
		}
	}
	return im.file.Flush()
}

// unmarkBitmaps makes the flags in the file what they were before.
func (im *Image) unmarkBitmaps() error {
	for _, b := range im.bitmapsStored {
		if err := im.writeBitmapFlags(b, b.flags); err != nil {
			return err
		}
	}
	return im.file.Flush()
}

func (im *Image) writeBitmapFlags(b bitmapEntry, flags uint32) error {
	if b.flags&bitmapInUse != 0 {
		return nil // that of somebody who did not store it
	}
	_, err := im.file.WriteAt(binary.BigEndian.AppendUint32(nil, flags), b.off+bitmapFlags)
	return err
}

// prepareBitmapsForResize loads all bitmaps. mu is held.
func (im *Image) prepareBitmapsForResize(size int64) error {
	if size == 0 && len(im.bitmaps) > 0 {
		return im.bitmapError(blockdev.ErrNotSupported, "An empty disk cannot have bitmaps")
	}
	for _, b := range im.bitmaps {
		if err := im.checkConsistent(b); err != nil {
			return err
		}
		if err := im.loadBitmap(b); err != nil {
			return err
		}
		if _, err := blockdev.NewDirtyBitmap(size, b.dirty.Granularity()); err != nil {
			return err
		}
	}
	return nil
}

// resizeBitmaps makes the bitmaps as long as the disk has become. mu is held.
func (im *Image) resizeBitmaps(size int64) error {
	for _, b := range im.bitmaps {
		if b.dirty == nil || b.dirty.Size() == size {
			continue // only the L1 table moved
		}
		if err := b.dirty.Resize(size); err != nil {
			return err
		}
		b.unsaved, im.bitmapsChanged = true, true
	}
	return nil
}

// stopTracking stores the bitmaps. commitMu and mu are held.
func (im *Image) stopTracking() error {
	if len(im.bitmapsStored) == 0 && !im.bitmapsChanged || im.mode.Check {
		return nil
	}
	store := im.storeBitmaps
	if !im.bitmapsChanged {
		store = im.unmarkBitmaps
	}
	if err := store(); err != nil {
		return err
	}
	if err := im.commitAll(); err != nil {
		// Writers may go on, so the bitmaps are not valid yet.
		_ = im.markBitmaps() // the first error counts
		im.updateTracker()
		return err
	}
	im.tracker.Store(nil)
	return nil
}
