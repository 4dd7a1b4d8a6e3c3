package savevm

import (
	"context"
	"errors"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
)

// Save stops the machine, writes its state and snapshots every writable drive under the
// tag name ("" for a name made from the time, vm-YYYYMMDDhhmmss), replacing an older
// snapshot of that tag only when the new one is complete. The run state is as before
// afterwards. Call it from any goroutine but the machine's own; it returns the tag. When
// ctx is done before the snapshot is complete, there is none.
func Save(ctx context.Context, m *vm.Machine, name string) (string, error) {
	if name == "" {
		name = time.Now().Format("vm-20060102150405")
	}
	return name, SaveTag(ctx, m, name)
}

// SaveTag is Save with the tag as given, even an empty one.
func SaveTag(ctx context.Context, m *vm.Machine, tag string) error {
	var err error
	work := func(all []disk) error { return save(ctx, m, all, tag) }
	if e := m.Do(func() { err = withDisks(m, work) }); e != nil {
		return e
	}
	return err
}

// save is SaveTag on the machine's goroutine.
func save(ctx context.Context, m *vm.Machine, all []disk, tag string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := requireSnapshots(all); err != nil {
		return err
	}
	holder, err := stateDisk(all)
	if err != nil {
		return err
	}
	was := m.State()
	m.Stop(vm.StateSaveVM)
	m.Drain()
	resume := drain(all)
	err = saveStopped(ctx, m, was, all, holder, tag)
	resume()
	if was == vm.StateRunning {
		err = both(err, m.Start())
	}
	return err
}

// saveStopped saves a machine in which nothing moves. It was in state was before.
func saveStopped(ctx context.Context, m *vm.Machine, was vm.RunState, all []disk, holder int, tag string) error {
	older, err := tables(all)
	if err != nil {
		return err
	}
	snapshot := blockdev.Snapshot{Name: tag, Date: time.Now(), VMClock: m.Clock().Now(), ICount: blockdev.NoICount}
	if m.Clock().CountsInstructions() {
		snapshot.ICount = uint64(m.Clock().Instructions())
	}
	size, err := writeState(ctx, m, was, all[holder])
	if err != nil {
		return err
	}
	if err := create(ctx, all, holder, snapshot, size); err != nil {
		return err
	}
	for i, table := range older {
		if err := deleteTag(all[i], table, tag); err != nil {
			return err
		}
	}
	return nil
}

// writeState writes the machine's state to the area of a disk and returns its size; if it
// fails the area is empty.
func writeState(ctx context.Context, m *vm.Machine, was vm.RunState, d disk) (int64, error) {
	c, err := contents(m, was)
	if err != nil {
		return 0, err
	}
	store := d.node.(blockdev.VMStateStore)
	if err := store.DiscardVMState(); err != nil {
		return 0, stateError(d, err)
	}
	size, err := vmstate.Write(ctx, &stateWriter{ctx: ctx, store: store}, c, progressOf(ctx))
	if err != nil {
		return 0, stateError(d, both(err, store.DiscardVMState()))
	}
	return size, nil
}

func stateError(d disk, err error) error {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &blockdev.Error{
		Op: "savevm", File: d.Name(), Offset: blockdev.NoOffset,
		Text: "Error while writing VM state", Err: err,
	}
}

// create makes the snapshot on all disks, flushed, or on none.
func create(ctx context.Context, all []disk, holder int, s blockdev.Snapshot, size int64) error {
	made := make([]string, 0, len(all)) // IDs
	undo := func(err error) error {
		for i, id := range made {
			err = both(err, all[i].snapshots.DeleteSnapshot(id))
		}
		return both(err, all[holder].node.(blockdev.VMStateStore).DiscardVMState())
	}
	for i, d := range all {
		if err := ctx.Err(); err != nil {
			return undo(err)
		}
		s.VMStateSize = 0
		if i == holder {
			s.VMStateSize = size
		}
		c, err := d.snapshots.CreateSnapshot(s)
		if err != nil {
			return undo(diskError("create", s.Name, d, err))
		}
		made = append(made, c.ID)
	}
	for _, d := range all {
		if err := d.node.Flush(); err != nil {
			return undo(diskError("create", s.Name, d, err))
		}
	}
	return nil
}

// diskError is what QEMU says when verb, "create", "load" or "delete", fails on a disk.
func diskError(verb, tag string, d disk, err error) *blockdev.Error {
	e := blockdev.Errorf(nil, verb+" snapshot", d.Name(), "Could not %s snapshot '%s' on '%s'", verb, tag, d.Name())
	e.Err = err
	return e
}
