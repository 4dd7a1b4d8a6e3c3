package protocol

import (
	"bufio"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// senderBuffer is how much of small messages goes out in one system call, in bytes.
const senderBuffer = 32 << 10

// Sender writes whole messages for any number of goroutines. Small ones that are sent at
// the same time go out together; what is larger goes past the buffer.
type Sender struct {
	nc      net.Conn
	timeout time.Duration // 0 for none
	mu      sync.Mutex
	w       *bufio.Writer
	senders atomic.Int32 // goroutines that want mu, or have it
}

// buffersWriter is a connection that writes all parts at once, as the net package's own do.
type buffersWriter interface {
	WriteBuffers(parts [][]byte) error
}

// NewSender makes a sender whose every wait for the other end may take timeout, 0 for any
// time.
func NewSender(nc net.Conn, timeout time.Duration) *Sender {
	return &Sender{nc: nc, timeout: timeout, w: bufio.NewWriterSize(nc, senderBuffer)}
}

// Send writes head, and data behind it.
func (s *Sender) Send(head, data []byte) error {
	s.senders.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(head, data, s.senders.Add(-1) == 0)
}

// SendLater is Send for who will send more, or Flush, without waiting for anything before.
func (s *Sender) SendLater(head, data []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.send(head, data, false)
}

// Flush sends what SendLater has left.
func (s *Sender) Flush() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.w.Buffered() == 0 {
		return nil
	}
	return s.flush()
}

// SendParts calls next for one part after the other until it returns none; nothing else is
// sent between them.
func (s *Sender) SendParts(next func() (head, data []byte, err error)) error {
	s.senders.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.senders.Add(-1)
	for {
		head, data, err := next()
		if err != nil || len(head)+len(data) == 0 {
			return err
		}
		if err := s.send(head, data, true); err != nil {
			return err
		}
	}
}

// send writes; last says that nobody else is about to.
func (s *Sender) send(head, data []byte, last bool) error {
	if len(head)+len(data) <= s.w.Available() {
		_, _ = s.w.Write(head) // fits the buffer
		_, _ = s.w.Write(data)
		if !last {
			return nil
		}
		return s.flush()
	}
	if err := s.flush(); err != nil {
		return err
	}
	parts := net.Buffers{head, data}
	if v, ok := s.nc.(buffersWriter); ok {
		return v.WriteBuffers(parts)
	}
	_, err := parts.WriteTo(s.nc)
	return err
}

// flush sends what is buffered. The deadline holds for what is written next as well.
func (s *Sender) flush() error {
	if s.timeout > 0 {
		if err := s.nc.SetWriteDeadline(time.Now().Add(s.timeout)); err != nil {
			return err
		}
	}
	return s.w.Flush()
}
