package server

import (
	"encoding/binary"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// sparseFrom is the length from which on a read is answered with its holes as holes, in
// bytes: finding out about them takes longer than sending what is shorter.
const sparseFrom = 64 << 10

// answerRead reads and answers in the way that was agreed on.
func (c *conn) answerRead(r *request) error {
	switch {
	case c.mode == protocol.SimpleReplies:
		return c.answerReadSimple(r)
	case r.Flags&protocol.CmdFlagDontFragment != 0:
		if r.Length > pieceSize {
			r.fail(protocol.EOVERFLOW, "read is too long for one chunk")
			return c.acknowledge(r)
		}
		return c.sendData(r, int64(r.Offset), int64(r.Length), true)
	case r.Length == 0:
		return c.acknowledge(r)
	case r.Length < sparseFrom:
		return c.sendData(r, int64(r.Offset), int64(r.Length), true)
	}
	return c.answerReadSparse(r)
}

// answerReadSimple sends all data behind one header. The header promises success: when a
// later piece of a long read fails, only hanging up is left ("Simple reply message").
func (c *conn) answerReadSimple(r *request) error {
	off, left := int64(r.Offset), int64(r.Length)
	held := buffers.get(uint64(min(left, pieceSize)))
	defer buffers.put(held)
	read := func() ([]byte, error) {
		p := (*held)[:min(left, pieceSize)]
		start := time.Now()
		_, err := c.export.Backend.ReadAt(p, off)
		c.crew.note(start)
		off, left = off+int64(len(p)), left-int64(len(p))
		return p, err
	}
	p, err := read()
	if err != nil {
		r.err = err
		return c.acknowledge(r)
	}
	head := protocol.AppendSimple(r.head[:0], r.Cookie, 0)
	if left == 0 {
		return c.deliver(r, head, p)
	}
	return c.out.SendParts(func() (h, data []byte, err error) {
		h, head = head, nil
		if h != nil || left == 0 {
			data, p = p, nil
			return h, data, nil
		}
		data, err = read()
		return nil, data, err
	})
}

// answerReadSparse sends data and holes as they follow each other.
func (c *conn) answerReadSparse(r *request) error {
	off, end := int64(r.Offset), int64(r.Offset+r.Length)
	for off < end {
		n := end - off
		s, err := c.export.Backend.Status(off, n)
		if err != nil {
			r.err = err
			return c.acknowledge(r)
		}
		if hole := s.Kind == blockdev.ExtentZero || s.Kind == blockdev.ExtentUnallocated; hole {
			payload := protocol.AppendHole(nil, uint64(off), uint32(s.Len))
			err = c.chunk(r, protocol.ChunkHole, s.Len == n, payload, nil)
			n = s.Len
		} else {
			n = min(s.Len, pieceSize)
			err = c.sendData(r, off, n, off+n == end)
		}
		if err != nil || r.err != nil {
			return err
		}
		off += n
	}
	return nil
}

// sendData reads and sends one chunk of data. A read that fails ends the answer with an
// error chunk, and is noted in r.
func (c *conn) sendData(r *request, off, n int64, done bool) error {
	held := buffers.get(uint64(n))
	defer buffers.put(held)
	start := time.Now()
	_, err := c.export.Backend.ReadAt(*held, off)
	c.crew.note(start)
	if err != nil {
		r.err = err
		payload := protocol.AppendError(nil, r.errno(), r.message())
		payload = binary.BigEndian.AppendUint64(payload, uint64(off))
		return c.chunk(r, protocol.ChunkErrorOffset, true, payload, nil)
	}
	var payload [protocol.DataHeaderSize]byte
	binary.BigEndian.PutUint64(payload[:], uint64(off))
	return c.chunk(r, protocol.ChunkData, done, payload[:], *held)
}
