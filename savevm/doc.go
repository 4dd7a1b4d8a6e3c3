// Package savevm saves and restores whole machines in the snapshots of their disks:
// savevm, loadvm, delvm, info snapshots.
//
// The state stream (package savevm/vmstate: QEMU's migration format) goes behind the guest
// disk of the first drive that can hold one; every other writable drive gets a snapshot of
// the same tag. All drives or none.
package savevm

import (
	"context"

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
	// Complete snapshots are on every drive that takes part: loadvm can use them.
	Complete []Entry
	// Partial ones are on some drives only.
	Partial []PartialEntry
}

// Save stops the machine, writes its state and snapshots every writable drive under the
// tag name ("" for a name made from the time, vm-YYYYMMDDhhmmss), replacing an older
// snapshot of that tag only when the new one is complete. The run state is as before
// afterwards. Call it from any goroutine but the machine's own; it returns the tag.
func Save(ctx context.Context, m *vm.Machine, name string) (string, error) { panic("being written") }

// Load puts machine and drives back as they were at snapshot name (a tag or ID). It checks
// every drive and the whole stream first and changes nothing if one does not fit.
func Load(ctx context.Context, m *vm.Machine, name string) error { panic("being written") }

// Delete removes snapshot name from every drive.
func Delete(ctx context.Context, m *vm.Machine, name string) error { panic("being written") }

// List tells which snapshots the machine's drives hold.
func List(m *vm.Machine) (Listing, error) { panic("being written") }
