package protocol

// Limits on what is believed of the other end.
const (
	// MaxString is the longest name of an export, a context or a description, in bytes:
	// "String" in proto.md, Conventions.
	MaxString = 4096
	// MaxOptionData is the longest option, or option reply, that is read: two names and a
	// list of queries each as long as a string may be, and far more of usual ones.
	MaxOptionData = 64 << 10
	// MaxContexts is how many metadata contexts one connection has: a base context, and one
	// for every dirty bitmap of an image, of which people keep a few.
	MaxContexts = 64
	// MaxInfoRequests is how many kinds of information one GO or INFO asks for; five exist.
	MaxInfoRequests = 64
	// MaxPayload is the longest read or write that every server and client must take:
	// "Size constraints" in proto.md recommends 32 MiB where nothing else was agreed.
	MaxPayload = 32 << 20
	// MaxExtents is how many descriptors a block status has in one chunk: 2^20 is the
	// specification's advice to servers; each takes 16 bytes at most.
	MaxExtents = 1 << 20
	// MaxChunk is the longest reply chunk a client reads: the larger of a read's data with
	// its offset and of a full block status with its header.
	MaxChunk = MaxPayload + 64
	// MaxMinBlock is the largest minimum block size a server may ask for.
	MaxMinBlock = 64 << 10
)
