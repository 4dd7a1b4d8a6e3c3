package protocol

import "encoding/binary"

// Lengths of transmission headers, in bytes.
const (
	RequestSize         = 28
	ExtendedRequestSize = 32
	SimpleReplySize     = 16
	StructuredReplySize = 20
	ExtendedReplySize   = 32
)

// Request is one message of the client ("Request message").
type Request struct {
	Flags   CommandFlags
	Command Command
	Cookie  uint64
	Offset  uint64
	// Length is that of the range or, with CmdFlagPayloadLength and on writes, that of the
	// payload that follows.
	Length uint64
}

// HasPayload tells if Length bytes follow the request. A flag can only say so where
// extended headers were agreed on.
func (r *Request) HasPayload(extended bool) bool {
	return r.Command == CmdWrite || extended && r.Flags&CmdFlagPayloadLength != 0
}

// Append adds the encoded request to b.
func (r *Request) Append(b []byte, extended bool) []byte {
	magic := MagicRequest
	if extended {
		magic = MagicExtendedRequest
	}
	b = binary.BigEndian.AppendUint32(b, magic)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Flags))
	b = binary.BigEndian.AppendUint16(b, uint16(r.Command))
	b = binary.BigEndian.AppendUint64(b, r.Cookie)
	b = binary.BigEndian.AppendUint64(b, r.Offset)
	if extended {
		return binary.BigEndian.AppendUint64(b, r.Length)
	}
	return binary.BigEndian.AppendUint32(b, uint32(r.Length))
}

// RequestLen is the length of an encoded request.
func RequestLen(extended bool) int {
	if extended {
		return ExtendedRequestSize
	}
	return RequestSize
}

// DecodeRequest reads b, which has RequestLen bytes.
func DecodeRequest(b []byte, extended bool) (Request, error) {
	want := MagicRequest
	if extended {
		want = MagicExtendedRequest
	}
	if len(b) != RequestLen(extended) {
		return Request{}, Violation("request of %d bytes", len(b))
	}
	if magic := binary.BigEndian.Uint32(b); magic != want {
		return Request{}, Violation("invalid magic (got %#x)", magic)
	}
	r := Request{
		Flags:   CommandFlags(binary.BigEndian.Uint16(b[4:])),
		Command: Command(binary.BigEndian.Uint16(b[6:])),
		Cookie:  binary.BigEndian.Uint64(b[8:]),
		Offset:  binary.BigEndian.Uint64(b[16:]),
	}
	if extended {
		r.Length = binary.BigEndian.Uint64(b[24:])
	} else {
		r.Length = uint64(binary.BigEndian.Uint32(b[24:]))
	}
	return r, nil
}

// ReplyMode says how the server answers, as agreed in the handshake.
type ReplyMode uint8

// The ways to answer.
const (
	SimpleReplies ReplyMode = iota
	StructuredReplies
	ExtendedReplies
)

func (m ReplyMode) String() string {
	return [...]string{"simple", "structured", "extended"}[m]
}

// Reply is the header of one message of the server: a simple reply (Simple set, Error its
// outcome) or a chunk with Length bytes of payload behind it.
type Reply struct {
	Simple bool
	Error  Errno // of a simple reply
	Flags  uint16
	Kind   ChunkKind
	Cookie uint64
	Offset uint64 // of an extended chunk: the request's
	Length uint64
}

// Done tells if nothing more will come for the request.
func (r *Reply) Done() bool { return r.Simple || r.Flags&ReplyFlagDone != 0 }

// AppendSimple adds a simple reply to b.
func AppendSimple(b []byte, cookie uint64, e Errno) []byte {
	b = binary.BigEndian.AppendUint32(b, MagicSimpleReply)
	b = binary.BigEndian.AppendUint32(b, uint32(e))
	return binary.BigEndian.AppendUint64(b, cookie)
}

// Append adds a chunk's header to b, in the mode agreed on, which is not SimpleReplies.
func (r *Reply) Append(b []byte, mode ReplyMode) []byte {
	magic := MagicStructuredReply
	if mode == ExtendedReplies {
		magic = MagicExtendedReply
	}
	b = binary.BigEndian.AppendUint32(b, magic)
	b = binary.BigEndian.AppendUint16(b, r.Flags)
	b = binary.BigEndian.AppendUint16(b, uint16(r.Kind))
	b = binary.BigEndian.AppendUint64(b, r.Cookie)
	if mode == ExtendedReplies {
		b = binary.BigEndian.AppendUint64(b, r.Offset)
		return binary.BigEndian.AppendUint64(b, r.Length)
	}
	return binary.BigEndian.AppendUint32(b, uint32(r.Length))
}

// ReplyLen is the length of the header that begins with magic, which the mode must allow.
func ReplyLen(magic uint32, mode ReplyMode) (int, error) {
	switch {
	case magic == MagicSimpleReply && mode != ExtendedReplies:
		return SimpleReplySize, nil
	case magic == MagicStructuredReply && mode == StructuredReplies:
		return StructuredReplySize, nil
	case magic == MagicExtendedReply && mode == ExtendedReplies:
		return ExtendedReplySize, nil
	}
	return 0, Violation("invalid magic (got %#x) of a reply", magic)
}

// DecodeReply reads a header whose length ReplyLen told.
func DecodeReply(b []byte, mode ReplyMode) (Reply, error) {
	if len(b) < 4 {
		return Reply{}, Violation("reply of %d bytes", len(b))
	}
	n, err := ReplyLen(binary.BigEndian.Uint32(b), mode)
	if err != nil {
		return Reply{}, err
	}
	if len(b) != n {
		return Reply{}, Violation("reply of %d bytes", len(b))
	}
	if n == SimpleReplySize {
		return Reply{
			Simple: true, Error: Errno(binary.BigEndian.Uint32(b[4:])), Cookie: binary.BigEndian.Uint64(b[8:]),
		}, nil
	}
	r := Reply{
		Flags:  binary.BigEndian.Uint16(b[4:]),
		Kind:   ChunkKind(binary.BigEndian.Uint16(b[6:])),
		Cookie: binary.BigEndian.Uint64(b[8:]),
	}
	if mode == ExtendedReplies {
		r.Offset, r.Length = binary.BigEndian.Uint64(b[16:]), binary.BigEndian.Uint64(b[24:])
	} else {
		r.Length = uint64(binary.BigEndian.Uint32(b[16:]))
	}
	if r.Length > MaxChunk {
		return Reply{}, Violation("reply chunk of %d bytes is over %d", r.Length, MaxChunk)
	}
	return r, nil
}
