// Package vvfat shows a directory of the host as a disk with a FAT file system.
//
//	fat:DIR   fat:floppy:DIR   fat:rw:DIR   fat:12:DIR   fat:16:DIR   fat:32:DIR
//
//	 hard disk                                     where it comes from
//	+-----+---------+------+-----+-----+------+----------------------------+
//	| MBR | 0 ... 0 | boot | FAT | FAT | root | clusters: files and folders|
//	+-----+---------+------+-----+-----+------+----------------------------+
//	sector 0        63     |           |      |
//	       layout.go  -----+           |      +-- dirents.go  or the host's files (hostfile.go)
//	       fattable.go ----------------+
//
// Nothing is copied. Opening scans the tree once (tree.go) and gives every file a run of
// clusters; sectors are made up from that when they are read. A file is opened when its
// clusters are read, and must be as it was when it was scanned: the same size and time.
//
// With rw, what the guest writes is collected in a sparse temporary file (overlay.go).
// When the disk is flushed or closed, what the guest sees is read as a file system
// (walk.go). If that is consistent it is compared with what the directory holds
// (reconcile.go), and the directory is made the same: new contents are written to
// temporary files first, then names are put right with renames (apply.go). If it is not
// consistent the guest is in the middle of something, and the directory stays as it is.
//
// References: Microsoft, FAT: General Overview of On-Disk Format, version 1.03 ("fatgen").
package vvfat
