// Package vhdx reads and writes Microsoft's virtual hard disks of the second generation,
// the format of Hyper-V.
//
//	0       file identifier "vhdxfile"
//	64 KiB  header 1 \ the valid one with the higher sequence number counts
//	128 KiB header 2 /
//	192 KiB region table, and a copy of it at 256 KiB
//	1 MiB   log                 changes of the tables, on their way to where they belong
//	...     block allocation    one entry a block of the disk: state and place
//	...     metadata            block size, disk size, sector sizes
//	...     payload blocks      1 to 256 MiB each
//
// The block allocation table (BAT) says of each block of the disk that it is present, and
// where, or that it reads as zeroes. After every chunk of blocks it has one more entry for
// a sector bitmap, which only differencing images use: its bits say which sectors of a block
// are here, and which in the parent (differencing.go, locator.go). Those are only read.
//
// # How a change of the table reaches the file
//
// Changed pages of the table stay in memory until a flush (commit.go):
//
//	data is flushed | a log entry with the pages | flush | header names the log | pages
//
// The next entry lies behind the last one, so that a torn one never leaves an older entry
// than the last as the newest. A crash before the header names the log leaves the table as
// it was; one after it is mended by replaying the entry. A new block lies behind the end of
// the file, where everything reads as zeroes, so that its data needs no order.
//
// Section numbers in comments are those of [MS-VHDX], "Virtual Hard Disk v2 (VHDX) File
// Format".
package vhdx
