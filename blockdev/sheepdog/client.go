package sheepdog

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// Limits of a client.
const (
	// maxInFlight is how many requests are on their way at most: enough to keep a socket
	// busy, and a bound on the buffers that wait.
	maxInFlight = 64
	// firstPause and lastPause are how long a client waits between attempts to reach a
	// gateway; the pause doubles each time.
	firstPause = 50 * time.Millisecond
	lastPause  = 2 * time.Second
)

// gateway is an address at which a daemon listens.
type gateway struct{ network, address string }

// client carries out requests, whichever connection they take. When one is lost, it
// connects to the same gateway or the next and sends again what was not answered, until a
// deadline has passed.
//
// A request of which the answer was lost may have been carried out. Doing it again does no
// harm for reads, writes, table entries and removals. Neither does it for creating an
// object, as no other write to that object is sent before its answer. The rest is told by
// outcome.resent, so that the caller looks.
type client struct {
	file      string // for errors
	gateways  []gateway
	timeout   time.Duration // of a request
	reconnect time.Duration // of attempts to get a new connection
	removal   time.Duration // of an object that is to be made again
	slots     chan struct{}

	quit context.Context // done when the disk is closed
	stop context.CancelFunc

	mu    sync.Mutex // held while a connection is made
	conn  *conn
	first int // the gateway to try first
}

// dial makes a client that has a connection.
func dial(ctx context.Context, file string, gateways []gateway, timeout, reconnect time.Duration) (*client, error) {
	c := &client{
		file: file, gateways: gateways, timeout: timeout, reconnect: reconnect,
		removal: lastRemovalWait, slots: make(chan struct{}, maxInFlight),
	}
	c.quit, c.stop = context.WithCancel(context.Background())
	if _, err := c.connection(ctx); err != nil {
		c.stop()
		return nil, err
	}
	return c, nil
}

// close ends the connection, also one that is about to be made; requests that wait fail.
func (c *client) close() {
	c.stop()
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn != nil {
		conn.close()
	}
}

// connection is the present connection, or a new one to the first gateway that answers.
func (c *client) connection(ctx context.Context) (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.quit.Err() != nil {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "", c.file, "the disk is closed")
	}
	if c.conn != nil {
		if err := c.conn.reason(); err == nil || !errors.Is(err, errLost) {
			return c.conn, err // a server that broke the protocol is not trusted again
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	defer context.AfterFunc(c.quit, cancel)()
	var last error
	for i := range c.gateways {
		k := (c.first + i) % len(c.gateways)
		g := c.gateways[k]
		var d net.Dialer
		n, err := d.DialContext(ctx, g.network, g.address)
		if err == nil {
			c.first, c.conn = k, newConn(n, c.timeout)
			return c.conn, nil
		}
		last = &blockdev.Error{Op: "connect", File: c.file, Offset: blockdev.NoOffset,
			Text: "Failed to connect to '" + g.address + "'", Err: systemError(err)}
	}
	return nil, &transportError{last}
}

// outcome is how a request went.
type outcome struct {
	p.Response
	// resent is set if the request may have been carried out before it was answered.
	resent bool
}

// do carries a request out. out is sent, in is filled if the result is Success. The error
// is about the way there and back; the result is the caller's to judge.
func (c *client) do(req p.Request, out, in []byte) (outcome, error) {
	c.slots <- struct{}{}
	defer func() { <-c.slots }()
	var deadline time.Time // set by the first failure
	pause := firstPause
	var o outcome
	for {
		wait := c.timeout
		if !deadline.IsZero() {
			wait = min(wait, time.Until(deadline))
		}
		var err error
		if o.Response, err = c.attempt(req, out, in, wait); err == nil || !errors.Is(err, errLost) {
			return o, err
		}
		o.resent = true
		if deadline.IsZero() {
			deadline = time.Now().Add(c.reconnect)
		} else if pause = min(2*pause, lastPause); time.Now().Add(pause).After(deadline) {
			return o, c.gaveUp(err)
		}
		select {
		case <-time.After(min(pause, time.Until(deadline))):
		case <-c.quit.Done():
			return o, c.gaveUp(err)
		}
		if !time.Now().Before(deadline) {
			return o, c.gaveUp(err)
		}
	}
}

// attempt is do that tries once.
func (c *client) attempt(req p.Request, out, in []byte, wait time.Duration) (p.Response, error) {
	conn, err := c.connection(context.Background())
	if err != nil {
		return p.Response{}, err
	}
	return conn.roundTrip(req, out, in, max(wait, 0))
}

// maxResends is how often a request that makes a VDI is sent again. Each time the cluster
// could be reached and had no trace of it.
const maxResends = 3

// once is call for a request that makes a VDI, and must not be carried out twice. Where an
// answer is lost, find looks for what it has made before it is sent again.
func (c *client) once(req p.Request, out []byte, find func() (p.VID, bool, error)) (p.VID, error) {
	for n := 0; ; n++ {
		resp, err := c.attempt(req, out, nil, c.timeout)
		if err == nil {
			return resp.VID, resp.Result.Err()
		}
		if !errors.Is(err, errLost) || n == maxResends {
			return 0, err
		}
		if v, ok, err := find(); ok || err != nil {
			return v, err
		}
	}
}

// gaveUp is the error past the deadline.
func (c *client) gaveUp(err error) error {
	return &blockdev.Error{Op: "connect", File: c.file, Offset: blockdev.NoOffset,
		Text: "no Sheepdog server could be reached again within " + c.reconnect.String(), Err: err}
}

// call is do where every result but Success is an error.
func (c *client) call(req p.Request, out, in []byte) (outcome, error) {
	o, err := c.do(req, out, in)
	if err == nil {
		err = o.Result.Err()
	}
	return o, err
}

// lookup finds a VDI: the working one, or the snapshot with that tag, or else number. With
// lock it is locked as well.
func (c *client) lookup(op p.Opcode, n vdiName) (outcome, error) {
	req := p.Request{Opcode: op, SnapID: n.snapID}
	tag := n.tag
	if n.snapID != 0 {
		tag = "" // either of the two finds a snapshot, so only one is sent
	}
	payload := p.EncodeName(p.EncodeName(make([]byte, 0, p.LookupSize), n.vdi), tag)
	o, err := c.call(req, payload, nil)
	if err == nil && op != p.OpDeleteVDI && !o.VID.Valid() {
		err = protocolError("the Sheepdog server calls VDI '%s' %#x, which is no VDI id", n.vdi, uint32(o.VID))
	}
	return o, err
}

// release unlocks a VDI.
func (c *client) release(v p.VID) error {
	_, err := c.call(p.Request{Opcode: p.OpRelease, BaseVID: v}, nil, nil)
	return err
}

// readObject fills b from an object.
func (c *client) readObject(id p.ObjectID, b []byte, off uint32) error {
	_, err := c.call(p.Request{Opcode: p.OpRead, OID: id, Offset: off}, nil, b)
	return err
}

// writeObject writes to an object that exists.
func (c *client) writeObject(id p.ObjectID, b []byte, off uint32, policy uint8) error {
	_, err := c.call(p.Request{Opcode: p.OpWrite, OID: id, Offset: off, CopyPolicy: policy}, b, nil)
	return err
}

// createObject makes an object of which b is all that is not zero, or, with from, not the
// same as there.
func (c *client) createObject(id, from p.ObjectID, b []byte, off uint32, policy uint8) error {
	req := p.Request{Opcode: p.OpCreateAndWrite, OID: id, Offset: off, CopyPolicy: policy}
	if from != 0 {
		req.Flags, req.CowOID = p.FlagCOW, from
	}
	_, err := c.call(req, b, nil)
	return err
}

// How long, and how often, a client looks if an object is gone that is about to be made.
const (
	lastRemovalWait   = 10 * time.Second
	firstRemovalPause = time.Millisecond
	lastRemovalPause  = 250 * time.Millisecond
)

// awaitRemoval returns when an object that no table names is not there. The daemon answers
// for a cleared table entry first and removes the object later, whatever was made of it in
// between: made again too early it would vanish, with its data. An object that stays is one
// that a crash left between making it and naming it, and is made again.
func (c *client) awaitRemoval(id p.ObjectID) error {
	pause := firstRemovalPause
	for end := time.Now().Add(c.removal); time.Now().Before(end); pause = min(2*pause, lastRemovalPause) {
		err := c.readObject(id, make([]byte, 1), 0)
		if errors.Is(err, p.NoObject) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-time.After(pause):
		case <-c.quit.Done():
		}
	}
	return nil
}

// flush asks the daemon to flush, until it says that it has nothing to. Each connection
// may lead to another daemon and asks again.
func (c *client) flush() error {
	conn, err := c.connection(context.Background())
	if err == nil && conn.flushless() {
		return nil
	}
	o, err := c.do(p.Request{Opcode: p.OpFlush}, nil, nil)
	if err == nil && o.Result == p.InvalidParams && conn != nil {
		conn.setFlushless()
		return nil
	}
	if err == nil {
		err = o.Result.Err()
	}
	return err
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
