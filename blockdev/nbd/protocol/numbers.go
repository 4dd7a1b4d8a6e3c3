package protocol

import "fmt"

// Magic numbers ("Reserved Magic values").
const (
	MagicInit            uint64 = 0x4e42444d41474943 // "NBDMAGIC"
	MagicOption          uint64 = 0x49484156454f5054 // "IHAVEOPT"
	MagicOldstyle        uint64 = 0x00420281861253
	MagicOptionReply     uint64 = 0x3e889045565a9
	MagicRequest         uint32 = 0x25609513
	MagicSimpleReply     uint32 = 0x67446698
	MagicStructuredReply uint32 = 0x668e33ef
	MagicExtendedRequest uint32 = 0x21e41c71
	MagicExtendedReply   uint32 = 0x6e8a278c
)

// Handshake flags of the server and, of the same value, of the client.
const (
	FlagFixedNewstyle uint16 = 1 << 0
	FlagNoZeroes      uint16 = 1 << 1
)

// TransmissionFlags say what an export can do.
type TransmissionFlags uint16

// The transmission flags.
const (
	FlagHasFlags           TransmissionFlags = 1 << 0
	FlagReadOnly           TransmissionFlags = 1 << 1
	FlagSendFlush          TransmissionFlags = 1 << 2
	FlagSendFUA            TransmissionFlags = 1 << 3
	FlagRotational         TransmissionFlags = 1 << 4
	FlagSendTrim           TransmissionFlags = 1 << 5
	FlagSendWriteZeroes    TransmissionFlags = 1 << 6
	FlagSendDF             TransmissionFlags = 1 << 7
	FlagCanMultiConn       TransmissionFlags = 1 << 8
	FlagSendResize         TransmissionFlags = 1 << 9
	FlagSendCache          TransmissionFlags = 1 << 10
	FlagSendFastZero       TransmissionFlags = 1 << 11
	FlagBlockStatusPayload TransmissionFlags = 1 << 12
)

// Option is what a client asks for before transmission.
type Option uint32

// The options.
const (
	OptExportName      Option = 1
	OptAbort           Option = 2
	OptList            Option = 3
	OptStartTLS        Option = 5
	OptInfo            Option = 6
	OptGo              Option = 7
	OptStructuredReply Option = 8
	OptListMetaContext Option = 9
	OptSetMetaContext  Option = 10
	OptExtendedHeaders Option = 11
)

var optionNames = map[Option]string{
	OptExportName: "export name", OptAbort: "abort", OptList: "list", OptStartTLS: "starttls",
	OptInfo: "info", OptGo: "go", OptStructuredReply: "structured reply",
	OptListMetaContext: "list meta context", OptSetMetaContext: "set meta context",
	OptExtendedHeaders: "extended headers",
}

func (o Option) String() string { return nameOf(optionNames, o) }

// ReplyKind is the type of an option reply. Errors have the top bit set.
type ReplyKind uint32

// The option replies.
const (
	RepAck         ReplyKind = 1
	RepServer      ReplyKind = 2
	RepInfo        ReplyKind = 3
	RepMetaContext ReplyKind = 4

	repError              ReplyKind = 1 << 31
	RepErrUnsupported     ReplyKind = repError + 1
	RepErrPolicy          ReplyKind = repError + 2
	RepErrInvalid         ReplyKind = repError + 3
	RepErrPlatform        ReplyKind = repError + 4
	RepErrTLSRequired     ReplyKind = repError + 5
	RepErrUnknown         ReplyKind = repError + 6
	RepErrShutdown        ReplyKind = repError + 7
	RepErrBlockSize       ReplyKind = repError + 8
	RepErrTooBig          ReplyKind = repError + 9
	RepErrExtendedHeaders ReplyKind = repError + 10
)

// IsError tells if the option was refused.
func (k ReplyKind) IsError() bool { return k&repError != 0 }

var replyNames = map[ReplyKind]string{
	RepAck: "ack", RepServer: "server", RepInfo: "info", RepMetaContext: "meta context",
	RepErrUnsupported: "unsupported", RepErrPolicy: "denied by policy", RepErrInvalid: "invalid",
	RepErrPlatform: "unsupported by platform", RepErrTLSRequired: "TLS required",
	RepErrUnknown: "export unknown", RepErrShutdown: "server shutting down",
	RepErrBlockSize: "block size required", RepErrTooBig: "option payload too big",
	RepErrExtendedHeaders: "extended headers required",
}

func (k ReplyKind) String() string { return nameOf(replyNames, k) }

// InfoKind is a kind of information about an export.
type InfoKind uint16

// The kinds of information.
const (
	InfoExport      InfoKind = 0
	InfoName        InfoKind = 1
	InfoDescription InfoKind = 2
	InfoBlockSize   InfoKind = 3
)

// Command is the type of a request.
type Command uint16

// The commands.
const (
	CmdRead        Command = 0
	CmdWrite       Command = 1
	CmdDisconnect  Command = 2
	CmdFlush       Command = 3
	CmdTrim        Command = 4
	CmdCache       Command = 5
	CmdWriteZeroes Command = 6
	CmdBlockStatus Command = 7
)

var commandNames = map[Command]string{
	CmdRead: "read", CmdWrite: "write", CmdDisconnect: "disconnect", CmdFlush: "flush",
	CmdTrim: "trim", CmdCache: "cache", CmdWriteZeroes: "write zeroes", CmdBlockStatus: "block status",
}

func (c Command) String() string { return nameOf(commandNames, c) }

// CommandFlags refine a request.
type CommandFlags uint16

// The command flags.
const (
	CmdFlagFUA           CommandFlags = 1 << 0
	CmdFlagNoHole        CommandFlags = 1 << 1
	CmdFlagDontFragment  CommandFlags = 1 << 2
	CmdFlagOneExtent     CommandFlags = 1 << 3
	CmdFlagFastZero      CommandFlags = 1 << 4
	CmdFlagPayloadLength CommandFlags = 1 << 5
)

// ReplyFlagDone marks the last chunk of a reply.
const ReplyFlagDone uint16 = 1 << 0

// ChunkKind is the type of a structured or extended reply chunk. Errors have the top bit
// set.
type ChunkKind uint16

// The chunks.
const (
	ChunkNone           ChunkKind = 0
	ChunkData           ChunkKind = 1
	ChunkHole           ChunkKind = 2
	ChunkBlockStatus    ChunkKind = 5
	ChunkBlockStatusExt ChunkKind = 6

	chunkError       ChunkKind = 1 << 15
	ChunkError       ChunkKind = chunkError + 1
	ChunkErrorOffset ChunkKind = chunkError + 2
)

// IsError tells if the request, or a part of it, failed.
func (k ChunkKind) IsError() bool { return k&chunkError != 0 }

var chunkNames = map[ChunkKind]string{
	ChunkNone: "none", ChunkData: "data", ChunkHole: "hole", ChunkBlockStatus: "block status",
	ChunkBlockStatusExt: "extended block status", ChunkError: "error", ChunkErrorOffset: "error at offset",
}

func (k ChunkKind) String() string { return nameOf(chunkNames, k) }

// Names and states of the metadata contexts that are known here.
const (
	ContextAllocation = "base:allocation"
	ContextDepth      = "qemu:allocation-depth"
	ContextBitmap     = "qemu:dirty-bitmap:" // and the bitmap's name

	// StateHole and StateZero are the bits of base:allocation.
	StateHole uint64 = 1 << 0
	StateZero uint64 = 1 << 1
	// StateDirty is the bit of qemu:dirty-bitmap.
	StateDirty uint64 = 1 << 0
)

func nameOf[T ~uint16 | ~uint32](names map[T]string, v T) string {
	if s, ok := names[v]; ok {
		return s
	}
	return fmt.Sprintf("<unknown %#x>", uint64(v))
}
