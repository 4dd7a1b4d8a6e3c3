// Package protocol is the Network Block Device protocol on the wire: its numbers, and the
// encoding and decoding of its messages, for both ends.
//
//	client                                server
//	  |  <-- NBDMAGIC IHAVEOPT flags --      |   handshake (fixed newstyle)
//	  |  -- flags -->                        |
//	  |  -- IHAVEOPT option length data -->  |   haggling: any number of options,
//	  |  <-- magic option reply length data  |   each answered by one or more replies
//	  |  -- OPT_GO name -->   <-- INFO, ACK  |
//	  |                                      |
//	  |  -- magic flags cmd cookie off len   |   transmission: requests in flight
//	  |  <-- magic [flags type] cookie ...   |   together, answered in any order
//
// All numbers are big-endian. The sections named in comments are those of proto.md, the
// protocol's specification (github.com/NetworkBlockDevice/nbd), and of its branch
// extension-ext-header for what EXTENDED_HEADERS adds.
//
// Nothing is allocated on the word of the other end before it was compared with one of
// the limits in limits.go.
package protocol
