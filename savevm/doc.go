// Package savevm saves and restores whole machines in the snapshots of their disks:
// savevm, loadvm, delvm, info snapshots.
//
//	vm.Machine: RAM, devices --vmstate--> the first drive that can hold it
//	                                        |   disk a: [guest disk][VM state]  snapshot "x"
//	            drives ---------------------+   disk b: [guest disk]            snapshot "x"
//
// The state stream (package savevm/vmstate: QEMU's migration format) goes behind the guest
// disk of the first drive that can hold one; every other writable drive gets a snapshot of
// the same tag and the same date. Empty and read-only drives take no part. A writable drive
// that has no snapshots forbids all of it: all drives or none.
//
// The state tells what was in every drive whose medium can be changed, in the description behind
// the stream, at which QEMU does not look. Load puts these media back: they are opened, and
// known again by name, size and beginning, before anything changes.
//
// # Safety
//
// Save gives up nothing before it has everything: an older snapshot of the same tag is
// deleted when the new one is complete and flushed on every drive. When Save fails, or its
// context is done, what it has written is removed again. When the program or the host dies
// in between, images stay consistent; a snapshot may then be there that only some drives
// have, or twice under one tag: Load takes the newest that all drives have from one Save.
//
// Load reads the whole stream and has every device check its part before it changes
// anything; if something does not fit, machine and disks go on as if nothing had been
// asked. (QEMU stops the machine, and has put the disks back when it finds out.) After
// that only an I/O error can stop it: the machine then stays stopped, as "restore-vm", and
// the error tells which drives have gone back already.
package savevm
