// Package scsi is the device side of SCSI: logical units on drives, which answer commands.
//
//	host (virtio-scsi)                                   (specifications: SPC-5, SBC-4, MMC-6)
//	    |  Task: command, buffers
//	    v
//	Unit.Start --> an answer at once: INQUIRY, MODE SENSE, ...
//	    |
//	    +--> Task.Run, on any goroutine --> blockdev.Drive
//	    v
//	Unit.Finish --> status and sense
//
// There are three kinds of units: hard disks, CD-ROM drives and floppy drives. The latter are
// disks whose medium can be changed, as USB and ATAPI floppy drives are. What happens to the
// medium reaches the guest as unit attention conditions and media events, in the order in
// which QEMU reports it.
//
// What the guest asks for is not trusted: lengths and addresses are checked against the
// medium, and a command never touches more memory than its buffers.
package scsi
