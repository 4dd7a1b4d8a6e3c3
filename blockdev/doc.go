// Package blockdev is the block layer: everything between a device's request for
// some bytes of a disk and the files, sockets and images that hold them.
//
//	      Drive              what a machine's device holds: medium, tray, cache mode
//	        |
//	      Vertex             a named, opened place in the graph
//	        |
//	Node (format: qcow2)     maps guest offsets to extents
//	   |           \
//	Node (file)   Node       where bytes live; the backing file
//
// A [Node] is one vertex of the graph: a protocol (file, nbd), a format (raw, qcow2)
// or a filter (throttle, blkdebug). It answers where a range of bytes lives with
// [Node.Map]; one shared engine ([Read], [Copy]) turns those answers into I/O for all
// of them. What only some nodes can do is a small optional interface (capability.go),
// each with a documented fallback here.
//
// Drivers register themselves by value ([Register]); blockdev names none of them.
// Importing formats/all and blockdev/all for their side effects makes every driver
// known. A [Graph] opens and names nodes, and counts who uses them. Every file that an
// image refers to is opened through a [Gate]; without one nothing is followed.
//
// Where to look:
//
//	open.go, common.go, backing.go    names and descriptions become vertices
//	describe.go                       json: descriptions, both ways
//	gate.go, follow.go                which references are followed
//	engine.go, status.go, copy.go     Map becomes I/O
//	drive.go, request.go, stats.go    what a device sees
//	overlay.go, commit.go             -snapshot and what becomes of it
//	limits.go                         every limit, with its reason
//
// All offsets and lengths are in bytes.
package blockdev
