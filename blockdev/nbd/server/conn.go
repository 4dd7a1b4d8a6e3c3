package server

import (
	"bufio"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// readBuffer is how much is read at once, in bytes: several requests in one system call
// where they are small; what is larger goes past it.
const readBuffer = 32 << 10

// conn is one client.
type conn struct {
	server  *Server
	owned   bool       // nobody but the server has the socket
	mu      sync.Mutex // guards socket, for those on other goroutines
	socket  net.Conn
	nc      net.Conn // socket, or TLS over it once that was started
	r       *bufio.Reader
	closing atomic.Bool
	ended   chan struct{} // closed when run has returned

	// What the handshake agreed on; fixed afterwards. export is set under the server's lock.
	export   *Export
	mode     protocol.ReplyMode
	contexts contextSet
	secure   bool
	noZeroes bool

	hasThread bool // counts in the server's threads
	crew      crew
	out       *protocol.Sender
}

func newConn(s *Server, nc net.Conn, owned bool) *conn {
	c := &conn{server: s, owned: owned, socket: nc, ended: make(chan struct{})}
	c.use(nc)
	return c
}

// use reads from and writes to nc from here on.
func (c *conn) use(nc net.Conn) {
	c.nc = nc
	c.r = bufio.NewReaderSize(nc, readBuffer)
	c.out = protocol.NewSender(nc, c.server.o.IOTimeout)
}

// close ends the connection; requests that were begun go on without an answer.
func (c *conn) close() {
	c.closing.Store(true)
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.socket.Close() // not through TLS, which would wait for the peer
}

// block has the socket block its thread from here on, if few others do. A client that has
// sent more already stays with the buffer that has it.
func (c *conn) block() error {
	if !c.owned || c.nc != c.socket || c.r.Buffered() > 0 {
		return nil
	}
	select {
	case c.server.threads <- struct{}{}:
		c.hasThread = true
	default:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closing.Load() {
		return net.ErrClosed
	}
	socket, err := blocking(c.socket, c.server.o.IOTimeout)
	if err != nil {
		return err
	}
	c.socket = socket
	c.use(socket)
	return nil
}

// run serves the client from its first byte to its last.
func (c *conn) run() {
	defer close(c.ended)
	defer c.server.ended(c)
	defer func() { _ = c.socket.Close() }() // it is at its end
	err := c.nc.SetDeadline(time.Now().Add(c.server.o.HandshakeTimeout))
	if err == nil {
		err = c.handshake()
	}
	if err == nil && c.export != nil {
		if err = errors.Join(c.nc.SetDeadline(time.Time{}), c.block()); err == nil {
			err = c.transmit()
		}
	}
	if err != nil && !c.closing.Load() && !errors.Is(err, io.EOF) {
		c.server.logf(err)
	}
}

// receive fills p with bytes that the client has promised, in time.
func (c *conn) receive(p []byte) error {
	if c.r.Buffered() >= len(p) {
		_, err := io.ReadFull(c.r, p)
		return err
	}
	if err := c.release(); err != nil {
		return err
	}
	if err := c.nc.SetReadDeadline(time.Now().Add(c.server.o.IOTimeout)); err != nil {
		return err
	}
	if _, err := io.ReadFull(c.r, p); err != nil {
		return unexpected(err)
	}
	return c.nc.SetReadDeadline(time.Time{})
}

// unexpected turns the end of the stream within a message into an error.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// skip reads n promised bytes and forgets them.
func (c *conn) skip(n uint64) error {
	held := buffers.get(min(n, skipPiece))
	defer buffers.put(held)
	for n > 0 {
		k := min(n, skipPiece)
		if err := c.receive((*held)[:k]); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// skipPiece is how much is skipped at once, in bytes.
const skipPiece = 64 << 10
