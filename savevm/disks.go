package savevm

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

// disk is a drive that takes part in snapshots.
type disk struct {
	*blockdev.Drive
	node blockdev.Node
	// snapshots is nil if the medium can keep none.
	snapshots blockdev.Snapshotter
}

// withDisks calls fn with the machine's drives that hold something writable. The media stay
// open meanwhile, also if somebody takes one out.
func withDisks(m *vm.Machine, fn func(all []disk) error) error {
	var all []disk
	var held []*blockdev.Vertex
	for _, d := range m.Drives().All() {
		v := d.Medium()
		if v == nil || d.ReadOnly() {
			continue
		}
		held = append(held, v.Ref())
		s, _ := v.Node.(blockdev.Snapshotter)
		all = append(all, disk{d, v.Node, s})
	}
	err := fn(all)
	for _, v := range held {
		err = both(err, v.Unref())
	}
	return err
}

// both is errors.Join, except that a single error stays what it is, so that its words are
// found.
func both(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return errors.Join(a, b)
}

// requireSnapshots fails if one of the disks cannot keep snapshots.
func requireSnapshots(all []disk) error {
	for _, d := range all {
		if d.snapshots == nil {
			return blockdev.Errorf(blockdev.ErrNotSupported, "snapshot", d.Name(),
				"Device '%s' is writable but does not support snapshots", d.Name())
		}
	}
	return nil
}

// stateDisk is the index of the disk that holds machine states: the first that can.
func stateDisk(all []disk) (int, error) {
	for i, d := range all {
		if _, ok := d.node.(blockdev.VMStateStore); ok && d.snapshots != nil {
			return i, nil
		}
	}
	return -1, blockdev.Errorf(blockdev.ErrNotFound, "snapshot", "",
		"no block device can store vmstate for snapshot")
}

// drain holds back requests to the disks until the function returned is called. The
// devices' own requests must have been waited for.
func drain(all []disk) (resume func()) {
	resumes := make([]func(), len(all))
	for i, d := range all {
		resumes[i] = d.Drain()
	}
	return func() {
		for _, r := range resumes {
			r()
		}
	}
}

// tables reads the snapshot tables of all disks; a disk that keeps none has an empty one.
func tables(all []disk) ([][]blockdev.Snapshot, error) {
	out := make([][]blockdev.Snapshot, len(all))
	for i, d := range all {
		if d.snapshots == nil {
			continue
		}
		var err error
		if out[i], err = d.snapshots.Snapshots(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
