// Package bat is what the simple image formats have in common: a disk cut into blocks, a
// table that says where in the file each block lies, and new blocks added at the end.
//
//	header | table: 2 0 - 1 - ... | block 0 | block 1 | block 2 |      <- end
//	              |                                      ^
//	              +-- guest block 0 ---------------------+
//
// The table has one level (VDI, VHD, Parallels), or two, where the entries of an upper
// table say where lower tables are, which are allocated as they are needed (QED, qcow). A
// format says with a [Config] how large blocks are and what entries mean; an [Image] does
// the rest: reading, writing, copying on write, and bringing the table to the file.
//
// Blocks never move and are never freed. So what is read or overwritten where it lies needs
// no lock; only those who allocate the same block wait for each other.
//
// # How metadata reaches the file
//
// Entries are changed in memory, in pieces of tables (cache.go), and written back by a
// commit (commit.go) in an order that a crash at any point can only leak blocks:
//
//	data is flushed | lower tables | flush | upper table | flush
//
// # Locks
//
// An [Image] has three, taken in this order: busy (blocks being allocated; held across data
// I/O), commitMu (one write-back at a time), mu (tables in memory; never held across data
// I/O).
package bat
