// Package sheepdog opens disks on a Sheepdog cluster.
//
//	Image          a working VDI, or a snapshot opened by name
//	   |           index.go: which VDI owns each object of the disk
//	   |           data.go: reads, writes, discards, cut into requests by piece.go
//	   |           snapshot.go, vmstate.go, resize.go
//	client         requests that survive the loss of a gateway: client.go sends, requests.go
//	   |           and vdilock.go say what
//	   |
//	conn           one connection, many requests in flight (conn.go)
//	   |
//	protocol       headers, results, the inode
//
// A disk is cut into objects, of 4 MiB by default. The inode's table names, for each, the
// VDI whose object it is: this one, an ancestor that shares it, or none for a hole. The
// daemon checks next to nothing, so these rules keep the data:
//
//   - What an object holds is answered for before its table entry is written, and that
//     before the guest's write is done.
//   - Entries are written one by one: the daemon forgets who shares an object whose entry
//     is rewritten, and a snapshot would lose it.
//   - The first write to an object has it to itself, for creating an object again wipes it.
//   - An object that was given back is made again only when it is gone, for the daemon
//     removes it some time after it said so, whatever it holds by then.
//   - Of an erasure code whole stripes are written, for the daemon wipes, or loses, what
//     shares a stripe with other writes.
//   - Objects of ancestors are copied when they are first written.
//   - A working VDI that is open for writing is locked. The lock outlives a crash; the
//     option break-lock gets rid of it. It does not outlive the daemons: a new connection
//     asks for it again.
//
// Readers take no lock, so a disk in use can be looked at. What they see is as of the time
// they opened it, except where its writer gave objects back since.
package sheepdog
