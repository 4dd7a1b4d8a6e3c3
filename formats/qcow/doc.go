// Package qcow reads and writes QEMU's copy-on-write images, version 1.
//
//	| header | L1 table | L2 table | data | data | packed | ...
//	               |      ^   |  |     ^            ^
//	               +------+   |  +-----+            |
//	                          +---------------------+
//
// An entry of the L1 table is the offset of an L2 table, an entry of that the offset of a
// cluster of the disk; 0 is for what is in the backing file. With the highest bit an entry
// is that of a compressed cluster: the bits below are its size in bytes, and then its
// offset, anywhere in the file. Everything is big-endian. There are no snapshots, no
// refcounts, and no clusters of zeroes.
//
// The clusters may be encrypted, but for compressed ones: see crypt.go.
//
// There is no specification of its own but Mark McLoughlin's "The QCOW Image Format", of
// 2006; the fields are in libqcow's documentation, too.
package qcow
