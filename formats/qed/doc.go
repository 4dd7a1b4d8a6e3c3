// Package qed reads and writes QEMU's enhanced disk images, a predecessor of qcow2's
// version 3.
//
//	| header | L1 table | data | L2 table | data | data |
//	              |        ^      ^  |  |            ^
//	              +--------|------+  |  +------------+
//	                       +---------+
//
// The file is cut into clusters; a table takes one or more. An entry of the L1 table says
// where an L2 table is, one of that where a cluster of the disk is: offsets in the file, 0
// for what is in the backing file, 1 for zeroes. Everything is little-endian.
//
// There are no refcounts, so nothing but the end of the file says where the next cluster
// goes. The flag "need check" is set while an image is written to. One that has it is
// checked, and mended if need be, when it is opened for writing.
//
// Sections in comments are those of QEMU's docs/interop/qed_spec.rst.
package qed
