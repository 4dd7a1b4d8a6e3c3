// Package qcow2 reads and writes QEMU's copy-on-write image format, versions 2 and 3.
//
// The file is cut into host clusters of one size, the virtual disk into guest clusters
// of the same size. Two two-level tables tie them together:
//
//	header --> L1 table --> L2 tables --> data clusters   where a guest cluster lies
//	   |
//	   +-----> refcount table --> refcount blocks         how often a host cluster is used
//	   |
//	   +-----> snapshot table --> an L1 table each        the disk as it once was
//	   |
//	   +-----> bitmap directory --> a table each          what was written since when
//
// A cluster with refcount 1 is written in place (its table entry has the "copied" flag);
// one that a snapshot shares is copied first. A machine's state is stored like guest data,
// in guest clusters behind the end of the disk.
//
// # How metadata reaches the file
//
// Tables are changed in memory (cache.go) and written back by a commit (commit.go) in an
// order that a crash at any point can only leak clusters:
//
//	refcount blocks, refcount table | data is flushed | L2 tables | L1 table | flush,
//	then what is no longer referenced is freed
//
// A freed cluster is not used again before the commit that took the last reference to it
// off the disk.
//
// # Locks
//
// An [Image] has three, taken in this order: ranges (guest clusters in use by a request;
// held across data I/O), commitMu (one write-back at a time), mu (the metadata in memory;
// never held across data I/O or decompression).
//
// Section names in comments are those of QEMU's docs/interop/qcow2.txt.
package qcow2
