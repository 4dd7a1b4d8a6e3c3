// Package vmdk reads and writes VMware's virtual disks.
//
// A text, the descriptor, names the extents that the disk is made of, one behind the other.
// It is a file of its own, or lies inside the only extent:
//
//	disk.vmdk                         disk.vmdk (monolithicSparse, streamOptimized)
//	+------------------------+        +-------------------------------------+
//	| RW 4194304 SPARSE "s1" |        | header | descriptor | tables | grains |
//	| RW 2097152 FLAT   "f2" |        +-------------------------------------+
//	+------------------------+
//	     |            \
//	  s1.vmdk         f2.vmdk: the bytes as they are
//
// A sparse extent is cut into grains. Two levels of tables say where a grain is:
//
//	header --> grain directory --> grain tables --> grains
//	   |
//	   +-----> a second copy of directory and tables
//
// What is in no grain is in the parent, which the descriptor names together with the content
// identifier (CID) that the parent had: a disk gets a new one when it is written to, so that
// a parent that changed is noticed.
//
// Extents are files that an image names: they are opened through the gate alone.
//
// A new grain is written behind the end of its file; the tables are changed in memory, and
// written by a flush after the grains are durable. A crash leaks grains at worst.
//
// Section names in comments are those of VMware's "Virtual Disk Format 5.0".
package vmdk
