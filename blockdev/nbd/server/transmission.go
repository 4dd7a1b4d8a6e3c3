package server

import (
	"errors"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// request is one that was read. If it has data to write, all but its last piece were
// written as they came.
type request struct {
	protocol.Request
	inTurn bool    // is done before anything else is read
	err    error   // why it fails, known already
	text   string  // for people, "" for none
	piece  *[]byte // last piece of a write's data, for the offset at
	at     int64
	// What a block status asks for.
	contexts []metaContext
	length   uint64

	head [headSpace]byte // of what was read, and then of the answer
}

// headSpace is enough for any header, and the fixed part of a payload behind it.
const headSpace = protocol.ExtendedReplySize + 32

// read reads a request with its data.
func (c *conn) read(r *request) error {
	*r = request{}
	extended := c.mode == protocol.ExtendedReplies
	head := r.head[:protocol.RequestLen(extended)]
	if _, err := c.r.Peek(1); err != nil {
		return err
	}
	if err := c.receive(head); err != nil {
		return err
	}
	var err error
	if r.Request, err = protocol.DecodeRequest(head, extended); err != nil {
		return err
	}
	r.length = r.Length
	if !r.HasPayload(extended) {
		r.check(c)
		return nil
	}
	if r.Length > protocol.MaxPayload {
		return protocol.Violation("%s of %d bytes is over %d", r.Command, r.Length, protocol.MaxPayload)
	}
	if r.Command == protocol.CmdBlockStatus {
		return r.readQuery(c)
	}
	r.check(c)
	if r.err != nil || r.Command != protocol.CmdWrite {
		if r.err == nil {
			r.fail(protocol.EINVAL, "a payload with "+r.Command.String())
		}
		return c.skip(r.Length)
	}
	return r.readData(c)
}

// readData reads what is to be written, and writes all but the last piece of it.
func (r *request) readData(c *conn) error {
	off, left := int64(r.Offset), r.Length
	for {
		k := min(left, pieceSize)
		piece := buffers.get(k)
		if err := c.receive(*piece); err != nil {
			buffers.put(piece)
			return err
		}
		left -= k
		if left == 0 {
			r.piece, r.at = piece, off
			return nil
		}
		_, err := c.export.Backend.WriteAt(*piece, off)
		buffers.put(piece)
		if err != nil {
			r.err = err
			return c.skip(left)
		}
		off += int64(k)
	}
}

// readQuery reads which contexts a block status is about.
func (r *request) readQuery(c *conn) error {
	if r.Length > protocol.StatusQueryLimit {
		r.fail(protocol.EINVAL, "block status payload is too long")
		return c.skip(r.Length)
	}
	b := make([]byte, r.Length)
	if err := c.receive(b); err != nil {
		return err
	}
	length, ids, err := protocol.DecodeStatusQuery(b)
	if err != nil {
		r.fail(protocol.EINVAL, err.Error())
		return nil
	}
	var ok bool
	r.length = length
	if r.contexts, ok = c.contexts.subset(ids); !ok {
		r.fail(protocol.EINVAL, "block status of a context that was not selected")
		return nil
	}
	r.check(c)
	return nil
}

func (r *request) fail(e protocol.Errno, text string) { r.err, r.text = e, text }

// allowedFlags are those a command may have.
var allowedFlags = map[protocol.Command]protocol.CommandFlags{
	protocol.CmdRead:        protocol.CmdFlagDontFragment,
	protocol.CmdWrite:       protocol.CmdFlagFUA,
	protocol.CmdFlush:       0,
	protocol.CmdTrim:        protocol.CmdFlagFUA,
	protocol.CmdCache:       0,
	protocol.CmdWriteZeroes: protocol.CmdFlagFUA | protocol.CmdFlagNoHole | protocol.CmdFlagFastZero,
	protocol.CmdBlockStatus: protocol.CmdFlagOneExtent,
	protocol.CmdDisconnect:  0,
}

// check finds out what is wrong with a request, if anything. FUA goes with any command, as
// the specification wants.
func (r *request) check(c *conn) {
	known, ok := allowedFlags[r.Command]
	known |= protocol.CmdFlagFUA
	if c.mode == protocol.SimpleReplies {
		known &^= protocol.CmdFlagDontFragment
	}
	if c.mode == protocol.ExtendedReplies && (r.Command == protocol.CmdWrite || r.Command == protocol.CmdBlockStatus) {
		known |= protocol.CmdFlagPayloadLength
	}
	writes := r.Command == protocol.CmdWrite || r.Command == protocol.CmdTrim || r.Command == protocol.CmdWriteZeroes
	size, align := uint64(c.export.Size), uint64(c.export.Blocks.Minimum)
	outside := r.Offset > size || r.length > size-r.Offset
	switch {
	case !ok:
		r.fail(protocol.EINVAL, "invalid request type ("+r.Command.String()+") received")
	case r.Flags&^known != 0:
		r.fail(protocol.EINVAL, "unsupported flags for command "+r.Command.String())
	case writes && c.export.ReadOnly:
		r.fail(protocol.EPERM, "Export is read-only")
	case r.Command == protocol.CmdFlush || r.Command == protocol.CmdDisconnect:
	case outside && (r.Command == protocol.CmdWrite || r.Command == protocol.CmdWriteZeroes):
		r.fail(protocol.ENOSPC, "operation past EOF")
	case outside:
		r.fail(protocol.EINVAL, "operation past EOF")
	case r.Offset%align != 0 || r.length%align != 0 && r.Offset+r.length != size:
		r.fail(protocol.EINVAL, "request is not aligned to the minimum block size")
	case r.Command == protocol.CmdRead && r.Length > uint64(c.export.Blocks.Maximum):
		r.fail(protocol.EINVAL, "request is longer than the maximum block size")
	case r.Command == protocol.CmdBlockStatus && len(c.contexts.selected) == 0:
		r.fail(protocol.EINVAL, "CMD_BLOCK_STATUS not negotiated")
	case r.Command == protocol.CmdBlockStatus && r.length == 0:
		r.fail(protocol.EINVAL, "need non-zero length")
	}
}

// finish does the request and answers it. An error means that no answer could be sent.
func (c *conn) finish(r *request) error {
	if r.piece != nil {
		defer buffers.put(r.piece)
	}
	switch {
	case r.err != nil:
	case r.Command == protocol.CmdRead:
		return c.answerRead(r)
	case r.Command == protocol.CmdBlockStatus:
		return c.answerStatus(r)
	default:
		r.err = c.change(r)
	}
	return c.acknowledge(r)
}

// change does what has no answer but success or failure.
func (c *conn) change(r *request) error {
	b := c.export.Backend
	off, n := int64(r.Offset), int64(r.Length)
	var err error
	switch r.Command {
	case protocol.CmdWrite:
		start := time.Now()
		_, err = b.WriteAt(*r.piece, r.at)
		c.crew.note(start)
	case protocol.CmdFlush:
		return b.Flush()
	case protocol.CmdTrim:
		err = b.Discard(off, n)
	case protocol.CmdWriteZeroes:
		err = b.WriteZeroes(off, n, zeroFlags(r.Flags))
	case protocol.CmdCache:
		return c.prefetch(off, min(n, protocol.MaxPayload))
	}
	if err == nil && r.Flags&protocol.CmdFlagFUA != 0 {
		err = b.Flush()
	}
	return err
}

func zeroFlags(f protocol.CommandFlags) blockdev.ZeroFlags {
	var out blockdev.ZeroFlags
	if f&protocol.CmdFlagNoHole == 0 {
		out |= blockdev.ZeroMayUnmap
	}
	if f&protocol.CmdFlagFastZero != 0 {
		out |= blockdev.ZeroNoFallback
	}
	return out
}

// prefetch reads what will be wanted soon, so that caches below have it.
func (c *conn) prefetch(off, n int64) error {
	held := buffers.get(uint64(min(n, pieceSize)))
	defer buffers.put(held)
	for n > 0 {
		k := min(n, pieceSize)
		if _, err := c.export.Backend.ReadAt((*held)[:k], off); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// acknowledge answers with success or failure and nothing else. Reads and block status
// must be answered by chunks where those were agreed on.
func (c *conn) acknowledge(r *request) error {
	if c.mode == protocol.SimpleReplies {
		var e protocol.Errno
		if r.err != nil {
			e = r.errno()
		}
		return c.deliver(r, protocol.AppendSimple(r.head[:0], r.Cookie, e), nil)
	}
	if r.err != nil {
		return c.chunk(r, protocol.ChunkError, true, protocol.AppendError(nil, r.errno(), r.message()), nil)
	}
	return c.chunk(r, protocol.ChunkNone, true, nil, nil)
}

func (r *request) errno() protocol.Errno {
	if r.Command == protocol.CmdWrite && errors.Is(r.err, blockdev.ErrRange) {
		return protocol.ENOSPC
	}
	return protocol.ErrnoOf(r.err)
}

// message is what the number alone does not say.
func (r *request) message() string {
	text := r.text
	if text == "" {
		text = blockdev.Message(r.err)
	}
	if text == r.errno().Error() {
		return ""
	}
	return text
}

// chunk sends a piece of an answer: payload, then data.
func (c *conn) chunk(r *request, k protocol.ChunkKind, done bool, payload, data []byte) error {
	h := protocol.Reply{
		Kind: k, Cookie: r.Cookie, Offset: r.Offset, Length: uint64(len(payload) + len(data)),
	}
	if done {
		h.Flags = protocol.ReplyFlagDone
	}
	return c.deliver(r, append(h.Append(r.head[:0], c.mode), payload...), data)
}
