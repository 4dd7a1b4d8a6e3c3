package protocol

import (
	"encoding/binary"
	"fmt"
)

// Opcode says what a request asks for.
type Opcode uint8

// The opcodes of clients.
const (
	OpCreateAndWrite Opcode = 0x01 // replaces an object that is there already
	OpRead           Opcode = 0x02
	OpWrite          Opcode = 0x03
	OpRemove         Opcode = 0x04 // whoever still refers to the object
	OpDiscard        Opcode = 0x05
	OpNewVDI         Opcode = 0x11
	OpLock           Opcode = 0x12
	OpRelease        Opcode = 0x13
	OpLookup         Opcode = 0x14
	OpReadVDIs       Opcode = 0x15
	OpFlush          Opcode = 0x16
	OpDeleteVDI      Opcode = 0x17
	OpDefaults       Opcode = 0x18
)

var opcodeNames = map[Opcode]string{
	OpCreateAndWrite: "CREATE_AND_WRITE_OBJ", OpRead: "READ_OBJ", OpWrite: "WRITE_OBJ",
	OpRemove: "REMOVE_OBJ", OpDiscard: "DISCARD_OBJ", OpNewVDI: "NEW_VDI", OpLock: "LOCK_VDI",
	OpRelease: "RELEASE_VDI", OpLookup: "GET_VDI_INFO", OpReadVDIs: "READ_VDIS",
	OpFlush: "FLUSH_VDI", OpDeleteVDI: "DEL_VDI", OpDefaults: "GET_CLUSTER_DEFAULT",
}

func (o Opcode) String() string {
	if s, ok := opcodeNames[o]; ok {
		return s
	}
	return fmt.Sprintf("opcode %#02x", uint8(o))
}

// object tells if requests of this kind are about an object, not a VDI.
func (o Opcode) object() bool { return o >= OpCreateAndWrite && o <= OpDiscard }

// The flags of requests.
const (
	// FlagWrite says that DataLength bytes follow; without it, that so many are welcome.
	FlagWrite uint16 = 1 << 0
	// FlagCOW makes OpCreateAndWrite begin with a copy of CowOID.
	FlagCOW uint16 = 1 << 1
)

// Request is a request's header. Which fields count depends on the opcode.
type Request struct {
	Version    uint8 // as received; Encode sends Version
	Opcode     Opcode
	Flags      uint16
	ID         uint32
	DataLength uint32 // bytes

	// Of objects.
	OID    ObjectID
	CowOID ObjectID // with FlagCOW
	Offset uint32   // bytes, within the object

	// Of VDIs.
	Size        uint64 // bytes
	BaseVID     VID
	StorePolicy uint8
	Shift       uint8 // the object size is 1<<Shift bytes; 0 for the cluster's
	SnapID      uint32

	// Of both: 0 is the VDI's, or the cluster's.
	Copies     uint8
	CopyPolicy uint8
}

// Encode writes the header to b, which has HeaderSize bytes.
func (r *Request) Encode(b []byte) {
	clear(b[:HeaderSize])
	b[0], b[1] = Version, uint8(r.Opcode)
	le := binary.LittleEndian
	le.PutUint16(b[2:], r.Flags)
	le.PutUint32(b[8:], r.ID)
	le.PutUint32(b[12:], r.DataLength)
	if r.Opcode.object() {
		le.PutUint64(b[16:], uint64(r.OID))
		le.PutUint64(b[24:], uint64(r.CowOID))
		b[32], b[33] = r.Copies, r.CopyPolicy
		le.PutUint32(b[40:], r.Offset)
		return
	}
	le.PutUint64(b[16:], r.Size)
	le.PutUint32(b[24:], uint32(r.BaseVID))
	b[28], b[29], b[30], b[31] = r.Copies, r.CopyPolicy, r.StorePolicy, r.Shift
	le.PutUint32(b[32:], r.SnapID)
}

// DecodeRequest reads a header of HeaderSize bytes.
func DecodeRequest(b []byte) Request {
	le := binary.LittleEndian
	r := Request{
		Version: b[0], Opcode: Opcode(b[1]), Flags: le.Uint16(b[2:]),
		ID: le.Uint32(b[8:]), DataLength: le.Uint32(b[12:]),
	}
	if r.Opcode.object() {
		r.OID, r.CowOID = ObjectID(le.Uint64(b[16:])), ObjectID(le.Uint64(b[24:]))
		r.Copies, r.CopyPolicy = b[32], b[33]
		r.Offset = le.Uint32(b[40:])
		return r
	}
	r.Size, r.BaseVID = le.Uint64(b[16:]), VID(le.Uint32(b[24:]))
	r.Copies, r.CopyPolicy, r.StorePolicy, r.Shift = b[28], b[29], b[30], b[31]
	r.SnapID = le.Uint32(b[32:])
	return r
}

// Response is a response's header.
type Response struct {
	Opcode     Opcode
	Epoch      uint32 // rises when nodes come and go, 0 in a cluster that was not formatted
	ID         uint32
	DataLength uint32 // bytes
	Result     Result

	// Of VDIs. VID is garbage where Result is not Success.
	VID    VID
	Copies uint8
	Shift  uint8
	// CopyPolicy is in the answer to OpDefaults only.
	CopyPolicy uint8
}

// Encode writes the header to b, which has HeaderSize bytes.
func (r *Response) Encode(b []byte) {
	clear(b[:HeaderSize])
	b[1] = uint8(r.Opcode)
	le := binary.LittleEndian
	le.PutUint32(b[4:], r.Epoch)
	le.PutUint32(b[8:], r.ID)
	le.PutUint32(b[12:], r.DataLength)
	le.PutUint32(b[16:], uint32(r.Result))
	switch {
	case r.Opcode.object():
	case r.Opcode == OpDefaults:
		b[20], b[21], b[22] = r.Copies, r.CopyPolicy, r.Shift
	default:
		le.PutUint32(b[24:], uint32(r.VID))
		b[32], b[33] = r.Copies, r.Shift
	}
}

// DecodeResponse reads a header of HeaderSize bytes.
func DecodeResponse(b []byte) Response {
	le := binary.LittleEndian
	r := Response{
		Opcode: Opcode(b[1]), Epoch: le.Uint32(b[4:]), ID: le.Uint32(b[8:]),
		DataLength: le.Uint32(b[12:]), Result: Result(le.Uint32(b[16:])),
	}
	switch {
	case r.Opcode.object():
	case r.Opcode == OpDefaults:
		r.Copies, r.CopyPolicy, r.Shift = b[20], b[21], b[22]
	default:
		r.VID, r.Copies, r.Shift = VID(le.Uint32(b[24:])), b[32], b[33]
	}
	return r
}
