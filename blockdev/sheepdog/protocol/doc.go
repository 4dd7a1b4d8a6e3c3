// Package protocol is Sheepdog's client protocol: headers, results, object ids and the
// inode. All integers are little-endian, structures have no padding, and neither side
// greets: a connection begins with the first request.
//
//	request    common 16 | what the opcode needs 32 | payload, with FlagWrite
//	response   common 16 | result 4 | what the opcode gives 28 | payload
//
//	common     0 version 1 | 1 opcode 1 | 2 flags 2 | 4 epoch 4 | 8 id 4 | 12 data length 4
//
// Responses come in any order and are matched by id. See header.go, inode.go and
// object.go for the layouts. The facts were observed on a live daemon; the exchanges are
// in testdata/sheepdog.
package protocol

// Sizes, in bytes.
const (
	// HeaderSize is that of requests and responses.
	HeaderSize = 48
	// NameSize is that of a VDI's name, and of a tag.
	NameSize = 256
	// LookupSize is the payload of a lookup: name and tag. It is never sent shorter: a
	// lookup by snapshot id without the tag field kills the daemon.
	LookupSize = 2 * NameSize
	// StripeSize is what an erasure code cuts into strips. Of one that a write begins with
	// and does not fill, the daemon wipes the rest; it also loses one of two writes to parts
	// of one stripe that come at a time.
	StripeSize = 512
	// BitmapSize is what OpReadVDIs gives: a bit for each VDI id.
	BitmapSize = MaxVID / 8
)

// Limits of the protocol. The daemon checks none of them.
const (
	// MaxVID is one more than the highest VDI id: ids have 24 bits.
	MaxVID = 1 << 24
	// MaxObjects is how many entries an inode's table has.
	MaxObjects = 1 << 20
	// MinShift and MaxShift bound the object size, 1 MiB to 2 GiB: what Sheepdog's own
	// tool accepts.
	MinShift = 20
	MaxShift = 31
	// DefaultShift is that of a cluster that says nothing else: 4 MiB.
	DefaultShift = 22
	// MaxName is how long a name or tag may be, in bytes: the daemon looks for the NUL
	// behind it, and never finds a VDI without one again.
	MaxName = NameSize - 1
)

// Version is the protocol version of requests. Responses carry 0.
const Version = 1

// DefaultPort is the daemon's TCP port.
const DefaultPort = 7000
