// Package vpc reads and writes virtual hard disks (VHD), the format of Virtual PC, of older
// Hyper-V, and of Azure.
//
//	fixed     | the disk as it is                         | footer |
//
//	dynamic   | copy of     | header | table: 4 - 5053 .. | bitmap, block | ... | footer |
//	          | the footer  |        |            |         ^
//	                                              +---------+ in sectors
//
// The footer of 512 bytes says what kind of image it is and how large the disk. A dynamic
// image has a table with the place of each block (2 MiB by default), or ffffffff. Before
// each block is a bitmap with a bit for each sector that was written; who writes a block,
// here as in QEMU, sets them all and ignores them in reading. In a differencing image, which
// can only be read, what has no bit is in the parent, which is opened through the gate.
// Everything is big-endian.
//
// A block is allocated where the footer is, and the footer written behind it. A crash may
// take the footer away; its copy at the beginning stays and is what counts.
//
// Sections in comments are those of Microsoft's "Virtual Hard Disk Image Format
// Specification", version 1.0.
package vpc
