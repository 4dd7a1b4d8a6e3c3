package savevm

import (
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

// Delete removes the snapshots called name from every drive; that there is none is no
// error. Call it from any goroutine but the machine's own.
func Delete(ctx context.Context, m *vm.Machine, name string) error {
	var err error
	work := func(all []disk) error { return deleteAll(ctx, all, name) }
	if e := m.Do(func() { err = withDisks(m, work) }); e != nil {
		return e
	}
	return err
}

// deleteAll is Delete on the machine's goroutine.
func deleteAll(ctx context.Context, all []disk, tag string) error {
	if err := requireSnapshots(all); err != nil {
		return err
	}
	byDisk, err := tables(all)
	if err != nil {
		return err
	}
	for i, table := range byDisk {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := deleteTag(all[i], table, tag); err != nil {
			return err
		}
	}
	return nil
}

// deleteTag deletes from disk d the snapshots of table that are called tag.
func deleteTag(d disk, table []blockdev.Snapshot, tag string) error {
	for _, s := range table {
		if s.Name != tag {
			continue
		}
		if err := d.snapshots.DeleteSnapshot(s.ID); err != nil {
			return diskError("delete", tag, d, err)
		}
	}
	return nil
}
