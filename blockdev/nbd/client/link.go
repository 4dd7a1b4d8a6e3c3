package client

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// Pauses between attempts to connect.
const (
	firstPause   = 50 * time.Millisecond
	longestPause = time.Second
)

// link is one connection that is made again when it is lost.
type link struct {
	client *Client

	mu      sync.Mutex
	conn    *conn
	lost    time.Time // when conn was found to be lost, zero while it is there
	attempt time.Time // when connecting was last tried in vain
	failure error     // how that ended
	closed  bool
}

func newLink(c *Client, conn *conn) *link { return &link{client: c, conn: conn} }

// do sends r until there is an answer, or the time for reconnecting is over. That counts
// for each request as well: one that makes the server fall over is not sent for ever.
func (l *link) do(r *call) error {
	var giveUp time.Time
	for {
		conn, err := l.get()
		if err != nil {
			return err
		}
		err = conn.roundTrip(r)
		var lost *lostError
		if !errors.As(err, &lost) {
			return err
		}
		if giveUp.IsZero() {
			giveUp = time.Now().Add(l.client.config.ReconnectDelay)
		}
		if !time.Now().Before(giveUp) {
			return err
		}
	}
}

// get returns the connection. One goroutine makes it again while the others wait.
func (l *link) get() (*conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, errClosed
	}
	select {
	case <-l.conn.ended:
	default:
		return l.conn, nil
	}
	if l.lost.IsZero() {
		l.lost = time.Now()
	}
	return l.reconnect()
}

// reconnect tries for as long as the delay, counted from the loss, allows. After that
// requests fail at once, and one of them tries again now and then.
func (l *link) reconnect() (*conn, error) {
	deadline := l.lost.Add(l.client.config.ReconnectDelay)
	pause := firstPause
	for {
		if time.Now().After(deadline) && time.Since(l.attempt) < longestPause {
			return nil, l.failure
		}
		conn, err := l.client.dial(l.client.ctx)
		if err == nil {
			if err = l.client.same(conn); err == nil {
				l.conn, l.lost, l.failure = conn, time.Time{}, nil
				l.client.status.forget()
				return conn, nil
			}
			conn.close()
		}
		l.attempt, l.failure = time.Now(), &lostError{err}
		left := time.Until(deadline)
		if left <= 0 {
			return nil, l.failure
		}
		if !sleep(l.client.ctx, min(pause, left)) {
			return nil, errClosed
		}
		pause = min(2*pause, longestPause)
	}
}

// same tells if a new connection leads to what the old one led to: the requests go on as
// if nothing had happened.
func (c *Client) same(n *conn) error {
	was, is := c.first, &n.session
	switch {
	case is.info.Size != was.info.Size:
		return fmt.Errorf("the export has %d bytes now, and had %d", is.info.Size, was.info.Size)
	case is.info.Flags != was.info.Flags || is.mode != was.mode || is.info.Blocks != was.info.Blocks:
		return errors.New("the export can do other things than before")
	case len(is.contexts) != len(was.contexts):
		return errors.New("the export has other metadata contexts than before")
	}
	for i, m := range is.contexts {
		if m != was.contexts[i] {
			return errors.New("the export has other metadata contexts than before")
		}
	}
	return nil
}

// errClosed is what requests get after Close.
var errClosed = errors.New("NBD client is closed")

// close ends the link. The client's context has ended, so nobody connects for long.
func (l *link) close() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.conn.close()
}

// sleep pauses; it is false if ctx ended.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// retryable tells if connecting may succeed later: the server could not be reached, or hung up. What
// it has said in words it will say again.
func retryable(err error) bool {
	var refused *RefusedError
	return !errors.As(err, &refused) && !errors.Is(err, protocol.ErrProtocol)
}
