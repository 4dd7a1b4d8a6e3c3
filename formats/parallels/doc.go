// Package parallels reads and writes Parallels' expandable disk images, version 2.
//
//	| header | table: 2 0 1 0 ... | cluster 1 | cluster 2 | ...
//	64 bytes          |   |        ^           ^
//	                  |   +--------+           |
//	                  +------------------------+
//
// The table has for each cluster of the disk where it lies, 4 bytes, counted in clusters or,
// in images with the older magic number, in sectors; 0 is for those that are nowhere and
// read as zeroes. All numbers are little-endian.
//
// The header says if an image is in use. One that was not closed is not written, before a
// check has repaired it.
//
// A format extension (dirty bitmaps) is not read, and images that have one are not written:
// it would become wrong.
//
// Sections in comments are those of QEMU's docs/interop/parallels.txt.
package parallels
