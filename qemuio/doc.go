// Package qemuio exercises a disk with qemu-io's commands, and answers in its words: tests
// of disks and of what is below them are written in this language.
//
//	"write -P 5 0 64k" -> Run -> Command -> Drive.WriteAt -> "wrote 65536/65536 bytes at offset 0"
//	                       |
//	"aio_read 0 512" ------+--> goroutine -> finished -> printed by the next command that waits
//
// An [Exerciser] works on one [blockdev.Drive]. The commands that open and close files are
// those of the program that has it (see cmd/qmon/io); it adds them with Add.
package qemuio
