package system

import (
	"path/filepath"
	"strings"

	"github.com/qmon/qmon/blockdev/driveopt"
)

// personality is what the program's name and -machine make of it.
type personality struct {
	machine string // "virt" or "none"
	// stream is the machine's type in the state stream and for guests.
	stream string
	board  driveopt.Board
	// defaults are the empty drives that are there unless -nodefaults.
	defaults []driveopt.Spec
	// disks are the interfaces whose hard disks become virtio-blk devices by themselves.
	disks map[string]bool
	// units are those whose other drives become SCSI units by themselves.
	units map[string]bool
}

// Boards. The pc's drives are those of QEMU's pc machine; virt under qmon's own name takes
// -hda and its kin under the same names, and if=scsi; it gives hard disks to the guest as
// virtio-blk, and the others as SCSI units. As qemu-system-riscv64 it names and refuses as that
// program does.
var (
	pcBoard = driveopt.Board{Default: "ide", Interfaces: map[string]driveopt.Controller{
		"ide":    {Buses: 2, Units: 2},
		"floppy": {Buses: 1},
		"virtio": {Buses: 1},
		"sd":     {Buses: 1},
	}}
	qmonBoard = driveopt.Board{Default: "ide", Interfaces: map[string]driveopt.Controller{
		"ide":    {Buses: 2, Units: 2},
		"floppy": {Buses: 1},
		"virtio": {Buses: 1},
		"sd":     {Buses: 1},
		"scsi":   {Buses: 1, Units: 7},
	}}
	riscvBoard = driveopt.Board{Default: "none", Interfaces: map[string]driveopt.Controller{
		"virtio": {Buses: 1},
	}}
)

// personalityOf decides by program name and -machine.
func personalityOf(o *options) (personality, error) {
	name := strings.TrimSuffix(filepath.Base(o.program), ".exe")
	machine := o.machine
	if machine == "" {
		machine = "virt"
		if strings.HasPrefix(name, "qemu-system-") && name != "qemu-system-riscv64" {
			machine = "none"
		}
	}
	switch machine {
	case "virt":
		p := personality{
			machine: "virt", stream: "virt", board: qmonBoard,
			disks: map[string]bool{"ide": true, "virtio": true},
			units: map[string]bool{"ide": true, "floppy": true, "scsi": true},
		}
		if name == "qemu-system-riscv64" {
			p.board = riscvBoard
		}
		return p, nil
	case "none", "pc", "q35", "pc-i440fx-7.2", "pc-q35-7.2":
		return personality{
			machine: "none",
			stream:  "pc-i440fx-7.2",
			board:   pcBoard,
			defaults: []driveopt.Spec{
				{Interface: "ide", Bus: -1, Unit: -1, Index: 2, CDROM: true},
				{Interface: "floppy", Bus: -1, Unit: -1, Index: 0},
				{Interface: "sd", Bus: -1, Unit: -1, Index: 0},
			},
		}, nil
	}
	return personality{}, &usageError{text: "unsupported machine type\nUse -machine help to list supported machines"}
}
