package savevm

import (
	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

// Entry is a snapshot as info snapshots lists it.
type Entry struct {
	blockdev.Snapshot
	// Drive holds the VM state; "" if no drive does.
	Drive string
}

// PartialEntry is a snapshot that only some drives have.
type PartialEntry struct {
	blockdev.Snapshot
	Drive string
}

// Listing is what List found.
type Listing struct {
	// Complete snapshots are on every drive that takes part: loadvm can use them, if
	// they have a VM state. They are as the drive for VM states lists them.
	Complete []Entry
	// Partial ones are on some drives only, in the order of the drives.
	Partial []PartialEntry
}

// List tells which snapshots the machine's drives hold. Any goroutine may call it.
func List(m *vm.Machine) (l Listing, err error) {
	err = withDisks(m, func(all []disk) error {
		l, err = list(all)
		return err
	})
	return l, err
}

func list(all []disk) (Listing, error) {
	state, err := stateDisk(all)
	if err != nil {
		return Listing{}, err
	}
	byDisk, err := tables(all)
	if err != nil {
		return Listing{}, err
	}
	var out Listing
	complete := map[member]bool{}
	for _, s := range byDisk[state] {
		for _, found := range sets(byDisk, s.Name) {
			if found[state].ID != s.ID {
				continue
			}
			e := Entry{Snapshot: s}
			if h := found.holder(state); h >= 0 {
				e.Drive, e.VMStateSize = all[h].Name(), found[h].VMStateSize
			}
			out.Complete = append(out.Complete, e)
			for i, s := range found {
				complete[member{i, s.ID}] = true
			}
		}
	}
	for i, table := range byDisk {
		for _, s := range table {
			if !complete[member{i, s.ID}] {
				out.Partial = append(out.Partial, PartialEntry{s, all[i].Name()})
			}
		}
	}
	return out, nil
}

// member names a snapshot of one disk.
type member struct {
	disk int
	id   string
}

// Usage is how much of an image only one snapshot holds.
type Usage struct {
	Drive     string
	Snapshot  blockdev.Snapshot
	Exclusive int64 // bytes that deleting it would free, -1 if the format cannot tell
}

// Usages tells what each snapshot holds alone in each image of the machine's drives. Any
// goroutine may call it.
func Usages(m *vm.Machine) (out []Usage, err error) {
	err = withDisks(m, func(all []disk) error {
		out, err = usages(all)
		return err
	})
	return out, err
}

func usages(all []disk) ([]Usage, error) {
	byDisk, err := tables(all)
	if err != nil {
		return nil, err
	}
	var out []Usage
	for i, table := range byDisk {
		teller, ok := all[i].node.(blockdev.SnapshotUsage)
		for _, s := range table {
			u := Usage{Drive: all[i].Name(), Snapshot: s, Exclusive: -1}
			if ok {
				if u.Exclusive, err = teller.SnapshotExclusive(s.ID); err != nil {
					return nil, err
				}
			}
			out = append(out, u)
		}
	}
	return out, nil
}
