package img

import (
	"context"
	"errors"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// SnapshotOptions of the snapshot calls.
type SnapshotOptions struct {
	Session
	Image Source
	// Name of the snapshot; ApplySnapshot takes an ID as well.
	Name string
}

// Snapshots lists the internal snapshots of an image; formats without any have none.
func Snapshots(ctx context.Context, o SnapshotOptions) (list []blockdev.Snapshot, err error) {
	v, err := o.open(ctx, o.Image, access{})
	if err != nil {
		return nil, err
	}
	defer release(v, &err)
	s, ok := v.Node.(blockdev.Snapshotter)
	if !ok {
		return nil, nil
	}
	return s.Snapshots()
}

// CreateSnapshot keeps the present contents of an image as a snapshot. As with qemu-img,
// two snapshots may bear the same name.
func CreateSnapshot(ctx context.Context, o SnapshotOptions) error {
	return o.with(ctx, func(s blockdev.Snapshotter) error {
		text := "Could not create snapshot '" + o.Name + "'"
		if s == nil {
			return numbered(o, text, blockdev.ErrNotSupported)
		}
		_, err := s.CreateSnapshot(blockdev.Snapshot{Name: o.Name, Date: time.Now()})
		if err == nil {
			return nil
		}
		return numbered(o, text, err)
	})
}

// numbered says of a failure what qemu-img says: the error number alone.
func numbered(o SnapshotOptions, text string, err error) error {
	number, words := blockdev.SystemError(err)
	return blockdev.Errorf(err, "snapshot", o.Image.label(), "%s: %d (%s)", text, -number, words)
}

// ApplySnapshot makes the contents of a snapshot the present ones.
func ApplySnapshot(ctx context.Context, o SnapshotOptions) error {
	return o.with(ctx, func(s blockdev.Snapshotter) error {
		text := "Could not apply snapshot '" + o.Name + "'"
		if s == nil {
			return blockdev.Errorf(blockdev.ErrNotSupported, "snapshot", o.Image.label(),
				"%s: Block driver does not support snapshots", text)
		}
		sn, err := findSnapshot(s, o.Name, true)
		if errors.Is(err, blockdev.ErrNotFound) {
			return blockdev.Errorf(blockdev.ErrNotFound, "snapshot", o.Image.label(),
				"%s: Failed to load snapshot: No such file or directory", text)
		}
		if err == nil {
			err = s.ApplySnapshot(sn.ID)
		}
		if errors.Is(err, blockdev.ErrCorrupt) {
			return blockdev.Because(text+": Failed to load snapshot", err)
		}
		return failed(o, text, err)
	})
}

// DeleteSnapshot deletes the first snapshot of that name.
func DeleteSnapshot(ctx context.Context, o SnapshotOptions) error {
	return o.with(ctx, func(s blockdev.Snapshotter) error {
		text := "Could not delete snapshot '" + o.Name + "'"
		sn, err := findSnapshot(s, o.Name, false)
		if errors.Is(err, blockdev.ErrNotFound) {
			return blockdev.Errorf(blockdev.ErrNotFound, "snapshot", o.Image.label(), "%s: snapshot not found", text)
		}
		if err == nil {
			err = s.DeleteSnapshot(sn.ID)
		}
		return failed(o, text, err)
	})
}

// with opens the image for writing; do gets nil if it has no snapshots.
func (o SnapshotOptions) with(ctx context.Context, do func(blockdev.Snapshotter) error) (err error) {
	v, err := o.open(ctx, o.Image, access{writable: true})
	if err != nil {
		return err
	}
	defer release(v, &err)
	s, _ := v.Node.(blockdev.Snapshotter)
	return do(s)
}

func failed(o SnapshotOptions, text string, err error) error {
	if err == nil {
		return nil
	}
	return wrap("snapshot", o.Image.label(), text, err)
}

// findSnapshot looks a snapshot up by name, and before that by ID where byID is set.
func findSnapshot(s blockdev.Snapshotter, name string, byID bool) (blockdev.Snapshot, error) {
	notFound := blockdev.Errorf(blockdev.ErrNotFound, "snapshot", "", "Can't find snapshot")
	if s == nil {
		return blockdev.Snapshot{}, notFound
	}
	list, err := s.Snapshots()
	if err != nil {
		return blockdev.Snapshot{}, err
	}
	if byID {
		for _, sn := range list {
			if sn.ID == name {
				return sn, nil
			}
		}
	}
	for _, sn := range list {
		if sn.Name == name {
			return sn, nil
		}
	}
	return blockdev.Snapshot{}, notFound
}
