package savevm

import (
	"context"
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
)

// Load puts machine and drives back as they were at the snapshot with the tag name, each with
// the medium that was in it. It checks every drive and the whole stream first and changes nothing if one does not fit,
// or when ctx is done by then. A machine that ran runs on from there; any other keeps its
// run state. Call it from any goroutine but the machine's own.
func Load(ctx context.Context, m *vm.Machine, name string) error {
	var err error
	work := func(all []disk) error { return load(ctx, m, all, name) }
	if e := m.Do(func() { err = withDisks(m, work) }); e != nil {
		return e
	}
	return err
}

// load is Load on the machine's goroutine.
func load(ctx context.Context, m *vm.Machine, present []disk, tag string) (err error) {
	plan, err := planMedia(ctx, m, present, tag)
	if err != nil {
		return err
	}
	// What was planned for, or what it has taken the place of.
	defer func() { err = both(err, plan.close()) }()
	all := plan.disks(m, present)
	found, holder, err := find(all, tag)
	if err != nil {
		return err
	}
	if err := verify(m, plan); err != nil {
		return err
	}
	node, err := all[holder].snapshots.OpenSnapshot(found[holder].ID)
	if err != nil {
		return diskError("load", tag, all[holder], err)
	}
	defer func() { err = both(err, node.Close()) }()
	store, ok := node.(blockdev.VMStateStore)
	if !ok {
		return diskError("load", tag, all[holder], blockdev.ErrNotSupported)
	}
	into := states(m, m.State())
	stream, err := vmstate.Read(ctx, stateReader{store}, found[holder].VMStateSize, all[holder].Name(), target(m, into))
	if err != nil {
		return loadError(all[holder], err)
	}
	running := m.Running()
	m.Stop(vm.StateRestoreVM)
	m.Drain()
	resume := drain(all)
	plan.carryOut()
	changed, err := restore(m, all, found, stream, into, progressOf(ctx))
	if !changed {
		plan.carryOut()
	}
	resume()
	if running && (err == nil || !changed) {
		err = both(err, m.Start())
	}
	return err
}

// verify fails if somebody else changed what a medium shows: a directory of the host.
func verify(m *vm.Machine, plan exchanges) error {
	for _, d := range m.Drives().All() {
		v := plan.medium(d)
		if v == nil {
			continue
		}
		if err := v.Verify(); err != nil {
			return &blockdev.Error{Op: "loadvm", File: d.Name(), Offset: blockdev.NoOffset,
				Text: "Device '" + d.Name() + "' is not as it was", Err: err}
		}
	}
	return nil
}

// find looks for the newest snapshot of that tag that can be loaded, and the disk that
// holds the machine's state.
func find(all []disk, tag string) (found set, holder int, err error) {
	if err := requireSnapshots(all); err != nil {
		return nil, 0, err
	}
	byDisk, err := tables(all)
	if err != nil {
		return nil, 0, err
	}
	candidates := sets(byDisk, tag)
	if len(candidates) == 0 && len(all) > 0 {
		return nil, 0, blockdev.Errorf(blockdev.ErrNotFound, "loadvm", "",
			"Snapshot '%s' does not exist in one or more devices", tag)
	}
	preferred, err := stateDisk(all)
	if err != nil {
		return nil, 0, err
	}
	found = candidates[len(candidates)-1]
	if holder = found.holder(preferred); holder < 0 {
		return nil, 0, blockdev.Errorf(blockdev.ErrNotFound, "loadvm", all[preferred].Name(),
			"This is a disk-only snapshot. Revert to it  offline using qemu-img")
	}
	return found, holder, nil
}

// restore puts disks and machine back. It tells if it has changed anything.
func restore(m *vm.Machine, all []disk, found set, stream *vmstate.Stream, into []vm.State, progress vmstate.Progress) (changed bool, err error) {
	for i, d := range all {
		if err := d.apply(found[i].ID); err != nil {
			e := diskError("load", found[i].Name, d, err)
			if i > 0 {
				e.Text += " (drives before it have gone back already)"
			}
			return i > 0, e
		}
	}
	dropStates(all)
	m.Reset("")
	// From here on nothing asks for ctx: half a machine is of no use.
	if err := stream.LoadRAM(context.Background(), progress); err != nil {
		return true, loadError(all[0], err)
	}
	for _, s := range stream.Sections {
		if err := into[s.Index].Load(s.State, s.Version); err != nil {
			return true, loadError(all[0], fmt.Errorf("section '%s' %d: %w", s.Name, s.Instance, err))
		}
	}
	return true, nil
}

// apply puts a disk back. Its device hears of it if that changes the size.
func (d disk) apply(id string) error {
	before := d.node.Size()
	if err := d.snapshots.ApplySnapshot(id); err != nil {
		return err
	}
	if size := d.node.Size(); size != before {
		return d.Resize(size)
	}
	return nil
}

// dropStates empties the state areas, which came back with the disks: the snapshots keep
// them. Where that fails an image is larger than it needs to be until the next Save.
func dropStates(all []disk) {
	for _, d := range all {
		if store, ok := d.node.(blockdev.VMStateStore); ok {
			_ = store.DiscardVMState()
		}
	}
}

// loadError is what QEMU says when a stream cannot be loaded, and why.
func loadError(d disk, err error) error {
	code := -5 // EIO
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, blockdev.ErrCorrupt):
		code = -22 // EINVAL
	}
	e := blockdev.Errorf(nil, "loadvm", d.Name(), "Error %d while loading VM state", code)
	e.Err = err
	return e
}
