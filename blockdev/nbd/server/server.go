package server

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// Limits of one connection.
const (
	// MaxInFlight is how many requests of one connection are done at a time; QEMU's number.
	MaxInFlight = 16
	// pieceSize is the most that is held in memory for one request, in bytes: the size of
	// what qemu-img and we ourselves copy at once.
	pieceSize = 2 << 20
	// ConnectionMemory is the most that the data of one connection's requests takes, in bytes.
	ConnectionMemory = MaxInFlight * pieceSize
	// maxHaggling is how many options a client may send before it must begin: a real one
	// sends under ten, and one list or information for every export if it is curious.
	maxHaggling = 4096
	// MaxBitmaps is how many dirty bitmaps an export offers: with the two other contexts as
	// many as a connection can select.
	MaxBitmaps = protocol.MaxContexts - int(firstBitmapID)
	// maxThreads is how many connections may each keep a thread of the system waiting.
	maxThreads = 32
	// MaxExports is how many exports one server has; OptList answers with all of them.
	MaxExports = 4096
)

// Defaults of Options.
const (
	defaultConnections      = 128
	defaultHandshakeTimeout = 10 * time.Second
	defaultIOTimeout        = 30 * time.Second
)

// Options say how a Server treats its clients.
type Options struct {
	// TLS, if set, is required of every client before it learns or does anything.
	TLS *tls.Config
	// MaxConnections is how many clients are served at a time, 0 for the default (128). More
	// wait until one leaves.
	MaxConnections int
	// HandshakeTimeout bounds the handshake, IOTimeout the rest of a message that has begun
	// to arrive, and the client's taking of an answer. 0 is the default (10 s, 30 s).
	HandshakeTimeout, IOTimeout time.Duration
	// Connected and Disconnected hear of clients whose handshake succeeded and that have
	// left; active counts all connections that remain. They are called on connections' goroutines.
	Connected    func(export string)
	Disconnected func(active int)
	// Log receives why a connection was ended early; nil drops it.
	Log func(text string)
}

// Export is something that clients can ask for by name.
type Export struct {
	Name        string // "" is the default export
	Description string
	Backend     Backend
	Size        int64 // bytes
	ReadOnly    bool
	// SingleConn keeps the server from telling clients that they may use several
	// connections at once.
	SingleConn bool
	// AllocationDepth offers the context qemu:allocation-depth.
	AllocationDepth bool
	// Bitmaps are offered as contexts; at most MaxBitmaps.
	Bitmaps []Bitmap
	// Blocks are the sizes of requests, all three of them; zero for any, preferably 4 KiB, at
	// most 32 MiB.
	Blocks protocol.BlockSizes
	// Alignment is what clients that ask for sizes are told as the minimum, if that is more:
	// what suits the disk. Requests that do not keep to it are answered all the same.
	Alignment uint32
}

// Server serves exports to clients. Its zero value is not ready: use New.
type Server struct {
	o     Options
	slots chan struct{} // one per connection
	// threads has one for each connection whose socket blocks its thread.
	threads chan struct{}

	mu        sync.Mutex
	exports   []*Export // by name
	conns     map[*conn]struct{}
	listeners map[net.Listener]struct{}
	closed    bool
	running   sync.WaitGroup // connections
}

// New makes a server without exports.
func New(o Options) *Server {
	if o.MaxConnections <= 0 {
		o.MaxConnections = defaultConnections
	}
	if o.HandshakeTimeout <= 0 {
		o.HandshakeTimeout = defaultHandshakeTimeout
	}
	if o.IOTimeout <= 0 {
		o.IOTimeout = defaultIOTimeout
	}
	return &Server{
		o: o, slots: make(chan struct{}, o.MaxConnections), threads: make(chan struct{}, maxThreads),
		conns: map[*conn]struct{}{}, listeners: map[net.Listener]struct{}{},
	}
}

// Serve exports what is given to the clients of l until ctx ends, and then waits for the
// requests that were begun. It closes l. Who wants more makes a Server.
func Serve(ctx context.Context, l net.Listener, exports ...Export) error {
	s := New(Options{})
	for _, e := range exports {
		if err := s.Add(e); err != nil {
			return errors.Join(err, l.Close())
		}
	}
	err := s.Serve(ctx, l)
	return errors.Join(err, s.Close())
}

// defaultBlocks are what an export advertises that says nothing of itself; QEMU's.
var defaultBlocks = protocol.BlockSizes{Minimum: 1, Preferred: 4096, Maximum: protocol.MaxPayload}

// Add makes an export known. ErrExists if the name is taken, ErrInvalid if its block sizes
// are none, ErrLimit if it has too much of something.
func (s *Server) Add(e Export) error {
	switch {
	case len(e.Name) > protocol.MaxString:
		return blockdev.Errorf(blockdev.ErrLimit, "export", "", "export name '%.32s...' too long", e.Name)
	case len(e.Description) > protocol.MaxString:
		return blockdev.Errorf(blockdev.ErrLimit, "export", e.Name, "description '%.32s...' too long", e.Description)
	case len(e.Bitmaps) > MaxBitmaps:
		return blockdev.Errorf(blockdev.ErrLimit, "export", e.Name, "more than %d bitmaps", MaxBitmaps)
	}
	if e.Blocks == (protocol.BlockSizes{}) {
		e.Blocks = defaultBlocks
	}
	if err := e.Blocks.Check(); err != nil || e.Blocks.Maximum > protocol.MaxPayload {
		return blockdev.Errorf(blockdev.ErrInvalid, "export", e.Name, "block sizes %+v are not possible", e.Blocks)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	i, taken := s.find(e.Name)
	switch {
	case taken:
		return blockdev.Errorf(blockdev.ErrExists, "export", e.Name, "NBD server already has export named '%s'", e.Name)
	case len(s.exports) >= MaxExports:
		return blockdev.Errorf(blockdev.ErrLimit, "export", e.Name, "more than %d exports", MaxExports)
	}
	s.exports = slices.Insert(s.exports, i, &e)
	return nil
}

// find looks an export up. The server is locked.
func (s *Server) find(name string) (int, bool) {
	return slices.BinarySearchFunc(s.exports, name, func(e *Export, name string) int {
		return strings.Compare(e.Name, name)
	})
}

func (s *Server) lookup(name string) *Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.find(name); ok {
		return s.exports[i]
	}
	return nil
}

// Exports lists the exports by name.
func (s *Server) Exports() []Export {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Export, len(s.exports))
	for i, e := range s.exports {
		out[i] = *e
	}
	return out
}

// Remove takes an export away. While clients use it, it fails with ErrInUse, or with force
// ends their connections and waits for their requests.
func (s *Server) Remove(name string, force bool) error {
	s.mu.Lock()
	i, ok := s.find(name)
	if !ok {
		s.mu.Unlock()
		return blockdev.Errorf(blockdev.ErrNotFound, "export", name, "Export '%s' is not found", name)
	}
	var users []*conn
	for c := range s.conns {
		if c.export == s.exports[i] {
			users = append(users, c)
		}
	}
	if len(users) > 0 && !force {
		s.mu.Unlock()
		return blockdev.Errorf(blockdev.ErrInUse, "export", name, "export '%s' still in use", name)
	}
	s.exports = slices.Delete(s.exports, i, i+1)
	s.mu.Unlock()
	for _, c := range users {
		c.close()
	}
	for _, c := range users {
		<-c.ended
	}
	return nil
}

// ErrClosed is what Serve returns after Close.
var ErrClosed = errors.New("NBD server is closed")

// Serve accepts clients until the listener fails, ctx ends or the server is closed. It
// closes l, and leaves connections to run.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	if !s.addListener(l) {
		return errors.Join(ErrClosed, l.Close())
	}
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	defer s.dropListener(l)
	for {
		select {
		case s.slots <- struct{}{}:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		nc, err := l.Accept()
		if err != nil {
			<-s.slots
			if outOfResources(err) {
				s.logf(err)
				time.Sleep(acceptPause)
				continue
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if s.isClosed() {
				return ErrClosed
			}
			return err
		}
		s.start(nc)
	}
}

// acceptPause is how long the server waits for something that it lacks to accept a client.
const acceptPause = 100 * time.Millisecond

// outOfResources tells that accepting failed for want of what will be given back (accept(2)).
func outOfResources(err error) bool {
	for _, e := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *Server) addListener(l net.Listener) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners[l] = struct{}{}
	return !s.closed
}

func (s *Server) dropListener(l net.Listener) {
	_ = l.Close() // it is at its end, and may be closed already
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.listeners, l)
}

func (s *Server) isClosed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closed
}

// start serves an accepted connection, whose slot is taken, on goroutines of its own.
func (s *Server) start(nc net.Conn) {
	c := newConn(s, nc, true)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = nc.Close() // nobody was told anything yet
		<-s.slots
		return
	}
	s.conns[c] = struct{}{}
	s.running.Go(c.run)
}

// ServeConn serves one client that is connected already, and returns when it has left.
func (s *Server) ServeConn(ctx context.Context, nc net.Conn) error {
	select {
	case s.slots <- struct{}{}:
	case <-ctx.Done():
		return errors.Join(context.Cause(ctx), nc.Close())
	}
	c := newConn(s, nc, false)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		<-s.slots
		return errors.Join(ErrClosed, nc.Close())
	}
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	stop := context.AfterFunc(ctx, c.close)
	defer stop()
	c.run()
	return nil
}

// ended forgets a connection and tells how many remain.
func (s *Server) ended(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	active := len(s.conns)
	s.mu.Unlock()
	<-s.slots
	if c.hasThread {
		<-s.threads
	}
	if c.export != nil && s.o.Disconnected != nil {
		s.o.Disconnected(active)
	}
}

// enter notes which export c uses, if it still is there.
func (s *Server) enter(c *conn, e *Export) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i, ok := s.find(e.Name); !ok || s.exports[i] != e {
		return false
	}
	c.export = e
	return true
}

func (s *Server) logf(err error) {
	if s.o.Log != nil {
		s.o.Log(err.Error())
	}
}

// Close stops accepting, ends all connections, and waits for the requests they have begun.
func (s *Server) Close() error {
	s.mu.Lock()
	s.closed = true
	var errs []error
	for l := range s.listeners {
		if err := l.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			errs = append(errs, err)
		}
	}
	for c := range s.conns {
		c.close()
	}
	s.mu.Unlock()
	s.running.Wait()
	return errors.Join(errs...)
}
