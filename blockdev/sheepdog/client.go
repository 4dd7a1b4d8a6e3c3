package sheepdog

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
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
	// maxDial is how long one gateway has to take a connection: one whose host is down
	// does not say so, and others wait to be tried.
	maxDial = 10 * time.Second
)

// gateway is an address at which a daemon listens.
type gateway struct{ network, address string }

// dial connects, and leaves time for as many others.
func (g gateway) dial(ctx context.Context, others int) (net.Conn, error) {
	d := net.Dialer{Timeout: maxDial}
	if end, ok := ctx.Deadline(); ok {
		d.Timeout = min(d.Timeout, time.Until(end)/time.Duration(1+others))
	}
	return d.DialContext(ctx, g.network, g.address)
}

// client carries out requests, whichever connection they take. When one is lost, or its
// daemon serves no longer, it connects to the next gateway, last to the same, and sends
// again what was not answered, until a deadline has passed.
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
	removal   time.Duration // of waiting for the removal of an object that is to be made again
	slots     chan struct{}

	quit context.Context // done when the disk is closed
	stop context.CancelFunc

	served atomic.Bool // set once a daemon has served a request
	held   heldLock

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
// The gateway of a lost one comes last: if it hangs, it still takes connections.
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
		c.first = (c.first + 1) % len(c.gateways)
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	defer context.AfterFunc(c.quit, cancel)()
	var last error
	for i := range c.gateways {
		k := (c.first + i) % len(c.gateways)
		g := c.gateways[k]
		n, err := g.dial(ctx, len(c.gateways)-1-i)
		if err == nil {
			c.first, c.conn = k, newConn(n, c.timeout)
			return c.conn, nil
		}
		last = lost("Failed to connect to '"+g.address+"'", systemError(err))
	}
	return nil, last
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
	for tries := 1; ; tries++ {
		wait := c.timeout
		if !deadline.IsZero() {
			wait = min(wait, time.Until(deadline))
		}
		var err error
		if o.Response, err = c.attempt(req, out, in, wait); err == nil || !errors.Is(err, errLost) {
			return o, err
		}
		if o.Result.NotServing() && tries >= len(c.gateways) && !c.served.Load() {
			return o, err // a cluster that is down from the start is not waited for
		}
		o.resent = true
		if deadline.IsZero() {
			deadline = time.Now().Add(c.reconnect)
		}
		if !c.sleep(pause, deadline) {
			return o, c.gaveUp(err)
		}
		pause = min(2*pause, lastPause)
	}
}

// sleep waits before another attempt. It is false where there is no time left for one.
func (c *client) sleep(d time.Duration, deadline time.Time) bool {
	if time.Now().Add(d).After(deadline) {
		return false
	}
	select {
	case <-time.After(d):
		return true
	case <-c.quit.Done():
		return false
	}
}

// attempt is do that tries once. A daemon that serves no longer is left like one that is
// gone.
func (c *client) attempt(req p.Request, out, in []byte, wait time.Duration) (p.Response, error) {
	wait = max(wait, 0)
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	conn, err := c.connection(ctx)
	if err != nil {
		return p.Response{}, err
	}
	conn.relock.Do(func() { c.relock(conn, wait) })
	resp, err := conn.roundTrip(req, out, in, wait)
	switch {
	case err != nil:
	case resp.Result.NotServing():
		err = lost("", resp.Result)
		conn.fail(err)
	default:
		c.served.Store(true)
	}
	return resp, err
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
