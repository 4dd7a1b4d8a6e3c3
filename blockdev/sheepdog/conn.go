package sheepdog

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// errLost is the kind of all transport errors: the request may have been carried out, and
// another connection may do it.
var errLost = errors.New("connection to the Sheepdog server lost")

func lost(text string, err error) error {
	return &blockdev.Error{Kind: errLost, Offset: blockdev.NoOffset, Text: text, Err: err}
}

// call is a request on its way. The reader of its connection is the only one to finish it,
// so that nobody else touches in until then.
type call struct {
	req  p.Request
	in   []byte // where the answer's payload goes
	resp p.Response
	err  error
	done chan struct{}
}

// conn is a connection to one gateway.
type conn struct {
	net     net.Conn
	timeout time.Duration

	write  sync.Mutex // keeps requests in one piece
	relock sync.Once  // before the first request

	mu     sync.Mutex
	calls  map[uint32]*call
	nextID uint32
	err    error // why the connection is of no more use

	noFlush bool // the server has no write cache; guarded by mu
	ended   chan struct{}
}

func newConn(c net.Conn, timeout time.Duration) *conn {
	n := &conn{net: c, timeout: timeout, calls: map[uint32]*call{}, ended: make(chan struct{})}
	go n.read()
	return n
}

// fail ends the connection. The reader then finishes all calls with the first reason.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	_ = c.net.Close()
}

// close ends the connection and waits for its reader.
func (c *conn) close() {
	c.fail(lost("", net.ErrClosed))
	<-c.ended
}

// reason is why the connection is of no more use, nil if it is.
func (c *conn) reason() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// roundTrip sends a request with its payload and waits for the answer, whose payload
// fills in. An answer other than Success is no error here.
func (c *conn) roundTrip(req p.Request, out, in []byte, timeout time.Duration) (p.Response, error) {
	call := &call{req: req, in: in, done: make(chan struct{})}
	if err := c.send(call, out); err != nil {
		return p.Response{}, err
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-call.done:
	case <-timer.C:
		c.fail(lost(fmt.Sprintf("no answer to %s within %v", req.Opcode, timeout), nil))
		<-call.done
	}
	return call.resp, call.err
}

func (c *conn) send(call *call, out []byte) error {
	call.req.DataLength = uint32(len(call.in))
	if len(out) > 0 {
		call.req.Flags |= p.FlagWrite
		call.req.DataLength = uint32(len(out))
	}
	if err := c.register(call); err != nil {
		return err
	}
	header := make([]byte, p.HeaderSize)
	call.req.Encode(header)
	message := net.Buffers{header, out}
	c.write.Lock()
	defer c.write.Unlock()
	err := c.net.SetWriteDeadline(time.Now().Add(c.timeout))
	if err == nil {
		_, err = message.WriteTo(c.net)
	}
	if err != nil {
		c.fail(lost("", systemError(err))) // and the reader finishes the call
	}
	return nil
}

// register gives the call an id that no other call in flight has.
func (c *conn) register(call *call) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	for c.calls[c.nextID] != nil {
		c.nextID++
	}
	call.req.ID = c.nextID
	c.calls[call.req.ID] = call
	c.nextID++
	return nil
}

// read takes answers until the connection ends, then finishes what is left.
func (c *conn) read() {
	defer close(c.ended)
	header := make([]byte, p.HeaderSize)
	for {
		if err := c.readOne(header); err != nil {
			c.fail(err)
			break
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, call := range c.calls {
		call.err = c.err
		close(call.done)
	}
	c.calls = nil
}

// readOne takes one answer.
func (c *conn) readOne(header []byte) error {
	if _, err := io.ReadFull(c.net, header); err != nil {
		return lost("", systemError(err))
	}
	resp := p.DecodeResponse(header)
	c.mu.Lock()
	call := c.calls[resp.ID]
	c.mu.Unlock()
	if call == nil {
		return protocolError("the Sheepdog server answers request %d, which nobody waits for", resp.ID)
	}
	if resp.Opcode != call.req.Opcode {
		return protocolError("the Sheepdog server answers %s with %s", call.req.Opcode, resp.Opcode)
	}
	// An answer that is no success may have bytes too, of no meaning: so about an erasure
	// coded object that is missing.
	got, want := int64(resp.DataLength), int64(len(call.in))
	if got > want || got < want && resp.Result == p.Success {
		return protocolError("the Sheepdog server answers %s with %d bytes, not %d", resp.Opcode, got, want)
	}
	if _, err := io.ReadFull(c.net, call.in[:got]); err != nil {
		return lost("", systemError(err))
	}
	c.mu.Lock()
	delete(c.calls, resp.ID)
	c.mu.Unlock()
	call.resp = resp
	close(call.done)
	return nil
}

func (c *conn) flushless() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.noFlush
}

func (c *conn) setFlushless() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.noFlush = true
}

// protocolError is about a server that does not keep to the protocol. Trying again is of
// no use.
func protocolError(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrCorrupt, "", "", format, args...)
}

// systemError is the cause without addresses and the names of system calls.
func systemError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the server closed it")
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err
		}
		err = inner
	}
}
