package serial

import (
	"net"
	"sync"
	"time"
)

const (
	// queueRoom is how much output waits for a slow client: a boot log fits.
	queueRoom = 1 << 20
	// queuePatience is how long a client may take nothing while its queue is not empty.
	queuePatience = 10 * time.Second
)

// outQueue sends a connection's output in the background.
type outQueue struct {
	conn    net.Conn
	mu      sync.Mutex
	change  *sync.Cond // buf or closed changed
	buf     []byte     // at most queueRoom
	sending bool       // the sender holds bytes that it took from buf
	closed  bool
}

func newOutQueue(conn net.Conn) *outQueue {
	q := &outQueue{conn: conn}
	q.change = sync.NewCond(&q.mu)
	go q.send()
	return q
}

// write queues p, waiting for room. After the connection's end everything is dropped.
func (q *outQueue) write(p []byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(p) > 0 && !q.closed {
		n := min(len(p), queueRoom-len(q.buf))
		q.buf = append(q.buf, p[:n]...)
		q.change.Broadcast()
		if p = p[n:]; len(p) > 0 {
			q.change.Wait()
		}
	}
}

// send is the goroutine that empties the queue. A connection that fails or takes nothing
// is closed; its reader sees that.
func (q *outQueue) send() {
	defer RestoreOnPanic()
	buf := make([]byte, 0, chunk)
	for q.take(&buf) {
		_ = q.conn.SetWriteDeadline(time.Now().Add(queuePatience))
		if _, err := q.conn.Write(buf); err != nil {
			q.close()
			_ = q.conn.Close()
			return
		}
	}
}

// take waits for output and moves some into buf; false after close.
func (q *outQueue) take(buf *[]byte) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.sending = false
	q.change.Broadcast()
	for len(q.buf) == 0 && !q.closed {
		q.change.Wait()
	}
	if q.closed {
		return false
	}
	n := min(len(q.buf), cap(*buf))
	*buf = append((*buf)[:0], q.buf[:n]...)
	q.buf = append(q.buf[:0], q.buf[n:]...)
	q.sending = true
	q.change.Broadcast()
	return true
}

// flush waits until all has been sent or the time is up.
func (q *outQueue) flush(limit time.Duration) {
	timer := time.AfterFunc(limit, q.close)
	defer timer.Stop()
	q.mu.Lock()
	defer q.mu.Unlock()
	for (len(q.buf) > 0 || q.sending) && !q.closed {
		q.change.Wait()
	}
}

// close drops what is queued and ends the goroutine when its write returns.
func (q *outQueue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.change.Broadcast()
}
