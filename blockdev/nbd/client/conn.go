package client

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"time"

	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// readBuffer is how much is read at once, in bytes: several small replies.
const readBuffer = 32 << 10

// session is what a handshake has agreed on.
type session struct {
	info     protocol.ExportInfo
	mode     protocol.ReplyMode
	contexts []protocol.Context
}

// conn is one socket after its handshake.
type conn struct {
	session
	nc  net.Conn
	r   *bufio.Reader
	out *protocol.Sender

	mu     sync.Mutex
	calls  map[uint64]*call
	cookie uint64
	err    error         // why the connection is lost
	ended  chan struct{} // closed when nothing is in flight any more, and err is set
}

// call is one request on its way.
type call struct {
	request protocol.Request
	payload []byte // sent behind the request
	into    []byte // where a read's data goes
	done    chan error

	received uint64 // bytes of into that replies have told about
	extents  map[uint32][]protocol.Extent
	failure  error // from an error chunk
}

// lostError says that a connection broke: the request may be sent again over another.
type lostError struct{ cause error }

func (e *lostError) Error() string { return "connection to the NBD server is lost: " + e.cause.Error() }

// Unwrap makes it an I/O error, which is what a guest is told.
func (e *lostError) Unwrap() []error { return []error{syscall.EIO, e.cause} }

// dial connects and shakes hands.
func (c *Client) dial(ctx context.Context) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.HandshakeTimeout)
	defer cancel()
	stop := context.AfterFunc(c.ctx, cancel)
	defer stop()
	nc, err := c.config.Dial(ctx)
	if err != nil {
		return nil, dialError(c.config.Address, err)
	}
	h := &handshake{config: &c.config, nc: nc}
	release := context.AfterFunc(ctx, func() { _ = nc.Close() })
	err = h.run(ctx)
	if !release() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		_ = nc.Close() // the handshake's error is the one to report
		return nil, err
	}
	conn := &conn{
		session: h.session, nc: h.nc, r: h.r, out: protocol.NewSender(h.nc, 0),
		calls: map[uint64]*call{}, ended: make(chan struct{}),
	}
	go conn.receive()
	return conn, nil
}

// roundTrip sends a request and waits for what comes of it.
func (c *conn) roundTrip(r *call) error {
	r.done = make(chan error, 1)
	r.received, r.extents, r.failure = 0, nil, nil
	if err := c.enter(r); err != nil {
		return err
	}
	var b [protocol.ExtendedRequestSize]byte
	head := r.request.Append(b[:0], c.mode == protocol.ExtendedReplies)
	if err := c.out.Send(head, r.payload); err != nil {
		_ = c.nc.Close() // receive notices, and fails all that is in flight
	}
	return <-r.done
}

// enter gives the request its cookie.
func (c *conn) enter(r *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	c.cookie++
	r.request.Cookie = c.cookie
	c.calls[c.cookie] = r
	return nil
}

// receive reads replies until the connection ends, and then fails what is in flight.
func (c *conn) receive() {
	var err error
	for err == nil {
		err = c.reply()
	}
	_ = c.nc.Close() // it is at its end
	c.mu.Lock()
	defer c.mu.Unlock()
	if errors.Is(err, io.EOF) {
		err = errors.New("server closed the connection")
	}
	c.err = &lostError{err}
	for _, r := range c.calls {
		r.done <- c.err
	}
	c.calls = nil
	close(c.ended)
}

// reply reads one message of the server.
func (c *conn) reply() error {
	magic, err := c.r.Peek(4)
	if err != nil {
		return err
	}
	n, err := protocol.ReplyLen(binary.BigEndian.Uint32(magic), c.mode)
	if err != nil {
		return err
	}
	var b [protocol.ExtendedReplySize]byte
	if _, err := io.ReadFull(c.r, b[:n]); err != nil {
		return err
	}
	h, err := protocol.DecodeReply(b[:n], c.mode)
	if err != nil {
		return err
	}
	c.mu.Lock()
	r := c.calls[h.Cookie]
	c.mu.Unlock()
	if r == nil {
		return protocol.Violation("reply to a request that was not made")
	}
	if h.Simple {
		err = c.simple(r, h)
	} else {
		err = c.chunk(r, h)
	}
	if err != nil || !h.Done() {
		return err
	}
	c.finish(r)
	return nil
}

// finish hands the outcome to who waits for it.
func (c *conn) finish(r *call) {
	c.mu.Lock()
	delete(c.calls, r.request.Cookie)
	c.mu.Unlock()
	r.done <- r.failure
}

// simple takes a simple reply, and the data behind it.
func (c *conn) simple(r *call, h protocol.Reply) error {
	reads := r.request.Command == protocol.CmdRead
	switch {
	case uint32(h.Error) != 0:
		r.failure = &protocol.RemoteError{Errno: h.Error}
		return nil
	case reads && c.mode != protocol.SimpleReplies:
		return protocol.Violation("simple reply to a read although structured replies were agreed on")
	case r.request.Command == protocol.CmdBlockStatus:
		return protocol.Violation("simple reply to a block status")
	case reads:
		_, err := io.ReadFull(c.r, r.into)
		return err
	}
	return nil
}

// chunk takes a piece of a structured or extended reply.
func (c *conn) chunk(r *call, h protocol.Reply) error {
	var err error
	switch {
	case h.Kind.IsError():
		err = c.failed(r, h)
	case h.Kind == protocol.ChunkData:
		err = c.data(r, h)
	case h.Kind == protocol.ChunkHole:
		err = c.hole(r, h)
	case h.Kind == protocol.ChunkBlockStatus, h.Kind == protocol.ChunkBlockStatusExt:
		err = c.blockStatus(r, h)
	case h.Kind == protocol.ChunkNone && h.Length == 0 && h.Done():
	default:
		return protocol.Violation("chunk '%s' of %d bytes", h.Kind, h.Length)
	}
	if err != nil || !h.Done() || r.failure != nil {
		return err
	}
	switch {
	case r.request.Command == protocol.CmdRead && r.received != uint64(len(r.into)):
		return protocol.Violation("reply to a read has %d bytes of %d", r.received, len(r.into))
	case r.request.Command == protocol.CmdBlockStatus && len(r.extents) == 0:
		return protocol.Violation("reply to a block status has none")
	}
	return nil
}

// smallPayload is the longest payload of an error: text, and what its kind adds.
const smallPayload = protocol.MaxString + 64

// failed takes an error; the first one counts.
func (c *conn) failed(r *call, h protocol.Reply) error {
	if h.Length > smallPayload {
		return protocol.Violation("error chunk of %d bytes", h.Length)
	}
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return err
	}
	e, err := protocol.DecodeError(b)
	if err == nil && r.failure == nil {
		r.failure = e
	}
	return err
}

// part is where the n bytes at off, which a reply tells about, belong in a read's buffer.
func (r *call) part(off, n uint64) ([]byte, error) {
	begin := r.request.Offset
	size := uint64(len(r.into))
	if r.request.Command != protocol.CmdRead || off < begin || off-begin > size || n > size-(off-begin) || n > size-r.received {
		return nil, protocol.Violation("reply of %d bytes at %#x, which were not asked for", n, off)
	}
	r.received += n
	return r.into[off-begin : off-begin+n], nil
}

func (c *conn) data(r *call, h protocol.Reply) error {
	if h.Length <= protocol.DataHeaderSize {
		return protocol.Violation("data chunk of %d bytes", h.Length)
	}
	var b [protocol.DataHeaderSize]byte
	if _, err := io.ReadFull(c.r, b[:]); err != nil {
		return err
	}
	p, err := r.part(binary.BigEndian.Uint64(b[:]), h.Length-protocol.DataHeaderSize)
	if err != nil {
		return err
	}
	_, err = io.ReadFull(c.r, p)
	return err
}

func (c *conn) hole(r *call, h protocol.Reply) error {
	if h.Length != protocol.HolePayload {
		return protocol.Violation("hole chunk of %d bytes", h.Length)
	}
	var b [protocol.HolePayload]byte
	if _, err := io.ReadFull(c.r, b[:]); err != nil {
		return err
	}
	off, n, err := protocol.DecodeHole(b[:])
	if err != nil {
		return err
	}
	p, err := r.part(off, n)
	clear(p)
	return err
}

func (c *conn) blockStatus(r *call, h protocol.Reply) error {
	wide := c.mode == protocol.ExtendedReplies
	switch {
	case r.request.Command != protocol.CmdBlockStatus, wide != (h.Kind == protocol.ChunkBlockStatusExt):
		return protocol.Violation("chunk '%s' to a request '%s'", h.Kind, r.request.Command)
	case h.Length > uint64(protocol.BlockStatusLen(protocol.MaxExtents, wide)):
		return protocol.Violation("block status of %d bytes", h.Length)
	}
	b := make([]byte, h.Length)
	if _, err := io.ReadFull(c.r, b); err != nil {
		return err
	}
	id, extents, err := protocol.DecodeBlockStatus(b, wide)
	if err != nil {
		return err
	}
	known := false
	for _, m := range c.contexts {
		known = known || m.ID == id
	}
	if _, twice := r.extents[id]; twice || !known {
		return protocol.Violation("block status of context %d, which was not asked for", id)
	}
	if r.extents == nil {
		r.extents = map[uint32][]protocol.Extent{}
	}
	r.extents[id] = extents
	return nil
}

// goodbyeTimeout bounds how long closing waits for the socket to take the last message.
const goodbyeTimeout = time.Second

// close says goodbye and waits until nobody uses the connection any more.
func (c *conn) close() {
	if err := c.nc.SetWriteDeadline(time.Now().Add(goodbyeTimeout)); err == nil {
		r := protocol.Request{Command: protocol.CmdDisconnect}
		_ = c.out.Send(r.Append(nil, c.mode == protocol.ExtendedReplies), nil) // out of courtesy
	}
	_ = c.nc.Close() // receive sees it
	<-c.ended
}
