package server

import (
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// crew are the goroutines of a connection in transmission.
type crew struct {
	members sync.WaitGroup

	turn sync.Mutex // held by who reads the next request
	done bool       // no more are read; under turn
	err  error      // why; under turn
	held int        // answers that are held back; under turn

	quick atomic.Int32 // reads and writes in a row that the backend did quickly

	mu      sync.Mutex
	count   int // members
	waiting int // members that wait for their turn, or have it
}

// transmit does requests until the client leaves, and those that it has begun.
func (c *conn) transmit() error {
	c.hire()
	c.crew.members.Wait()
	return c.crew.err
}

// hire adds a member if nobody is free to read on.
func (c *conn) hire() {
	c.crew.mu.Lock()
	defer c.crew.mu.Unlock()
	if c.crew.waiting > 0 || c.crew.count >= MaxInFlight {
		return
	}
	c.crew.count++
	c.crew.waiting++
	c.crew.members.Go(c.work)
}

// queue counts the caller as waiting for its turn (by 1) or no more (by -1).
func (c *conn) queue(by int) {
	c.crew.mu.Lock()
	defer c.crew.mu.Unlock()
	c.crew.waiting += by
}

// work is what a member does: read a request in its turn, do it, answer.
func (c *conn) work() {
	r := &request{} // for one after the other
	for c.next(r) {
		if err := c.finish(r); err != nil {
			c.stop(err)
			return
		}
		c.queue(1)
	}
}

// stop ends the connection because answers cannot be sent.
func (c *conn) stop(err error) {
	c.server.logf(err)
	c.close()
}

// next waits for the caller's turn and reads a request into r; false says that there is no
// other. Whoever returns is not waiting any more, and there is somebody else to read on.
// Small requests to a quick backend are done in the turn: waking somebody takes longer than
// the request. Their answers go out together.
func (c *conn) next(r *request) bool {
	c.crew.turn.Lock()
	defer c.crew.turn.Unlock()
	for !c.crew.done {
		err := c.read(r)
		if err != nil || r.Command == protocol.CmdDisconnect {
			c.crew.done, c.crew.err = true, errors.Join(err, c.release())
			return false
		}
		r.inTurn = c.quick(r)
		if !r.inTurn {
			if err := c.release(); err != nil {
				c.crew.done = true
				c.stop(err)
				return false
			}
			c.queue(-1)
			c.hire()
			return true
		}
		if err := c.finish(r); err != nil {
			c.crew.done = true
			c.stop(err)
		}
	}
	return false
}

const (
	// quickTime is how long a backend takes at most that is called quick: what a page cache
	// needs for smallData bytes, and no disk.
	quickTime = 30 * time.Microsecond
	smallData = 64 << 10
	// quickEnough is how many quick reads and writes in a row make a backend quick.
	quickEnough = 16
	// maxHeld is how many answers are held back at most: the client has something to do
	// meanwhile.
	maxHeld = 8
)

// note looks at how long a read or write took that began at start.
func (w *crew) note(start time.Time) {
	switch {
	case time.Since(start) > quickTime:
		w.quick.Store(0)
	case w.quick.Load() < quickEnough:
		w.quick.Add(1)
	}
}

// quick tells if r can be done before anything else is read.
func (c *conn) quick(r *request) bool {
	small := (r.Command == protocol.CmdRead || r.Command == protocol.CmdWrite) && r.Length <= smallData
	return small && r.Flags&protocol.CmdFlagFUA == 0 && c.crew.quick.Load() >= quickEnough && c.crew.idle()
}

// deliver sends an answer, or a part of one. What is done in the turn is held back while more
// requests are there.
func (c *conn) deliver(r *request, head, data []byte) error {
	if !r.inTurn {
		return c.out.Send(head, data)
	}
	if c.r.Buffered() == 0 || c.crew.held == maxHeld-1 {
		c.crew.held = 0
		return c.out.Send(head, data)
	}
	c.crew.held++
	return c.out.SendLater(head, data)
}

// release sends the answers that are held back. The caller has the turn.
func (c *conn) release() error {
	if c.crew.held == 0 {
		return nil
	}
	c.crew.held = 0
	return c.out.Flush()
}

// idle tells if no request is being done.
func (w *crew) idle() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.waiting == w.count
}
