package sheeptest

import (
	"errors"
	"io"
	"net"
	"sync"

	p "github.com/qmon/qmon/blockdev/sheepdog/protocol"
)

// Action is what a disturbed gateway does with a request.
type Action uint8

const (
	// Serve does what the daemon does.
	Serve Action = iota
	// DropBefore closes the connection and does not carry the request out.
	DropBefore
	// DropAfter carries it out and closes the connection instead of answering.
	DropAfter
	// Swallow neither carries it out nor answers.
	Swallow
	// Refuse answers as a daemon does that was taken out of its cluster.
	Refuse
)

// Gateway is one daemon's socket.
type Gateway struct {
	cluster  *Cluster
	listener net.Listener
	wait     sync.WaitGroup

	mu    sync.Mutex
	conns map[net.Conn]bool
	dead  bool

	disturb func(p.Request) Action
	forge   func(p.Request, *p.Response, []byte) []byte
}

// Option of Serve.
type Option func(*Gateway)

// WithDisturb has f decide what becomes of each request. It is called by one goroutine of
// each connection.
func WithDisturb(f func(p.Request) Action) Option { return func(g *Gateway) { g.disturb = f } }

// WithForgery has f give the bytes that are sent instead of an answer, or nil to send it
// as it is.
func WithForgery(f func(p.Request, *p.Response, []byte) []byte) Option {
	return func(g *Gateway) { g.forge = f }
}

// Listen opens a gateway on a free port of this host.
func (c *Cluster) Listen(options ...Option) (*Gateway, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	return c.Serve(l, options...), nil
}

// Serve opens a gateway on a socket, which it closes in the end.
func (c *Cluster) Serve(l net.Listener, options ...Option) *Gateway {
	g := &Gateway{cluster: c, listener: l, conns: map[net.Conn]bool{}}
	for _, o := range options {
		o(g)
	}
	g.wait.Go(g.accept)
	return g
}

// Addr is where the gateway listens.
func (g *Gateway) Addr() string { return g.listener.Addr().String() }

// Kill closes the socket and every connection, and waits until nothing runs.
func (g *Gateway) Kill() {
	g.stop()
	g.wait.Wait()
}

func (g *Gateway) stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.dead = true
	_ = g.listener.Close()
	for c := range g.conns {
		_ = c.Close()
	}
}

func (g *Gateway) accept() {
	for {
		conn, err := g.listener.Accept()
		if err != nil {
			return
		}
		g.mu.Lock()
		if g.dead {
			_ = conn.Close()
		}
		g.conns[conn] = true
		g.mu.Unlock()
		g.wait.Go(func() { g.serve(conn) })
	}
}

// serve reads requests and carries each out on a goroutine of its own, so that answers
// overtake each other.
func (g *Gateway) serve(conn net.Conn) {
	var write sync.Mutex
	var running sync.WaitGroup
	defer func() {
		_ = conn.Close()
		running.Wait()
		g.mu.Lock()
		delete(g.conns, conn)
		g.mu.Unlock()
	}()
	for {
		r, payload, err := readRequest(conn)
		if err != nil {
			return
		}
		action := Serve
		if g.disturb != nil {
			action = g.disturb(r)
		}
		switch action {
		case DropBefore:
			return
		case DropAfter:
			running.Wait()
			g.cluster.handle(r, payload)
			return
		case Swallow:
			continue
		}
		running.Go(func() {
			if err := g.answer(conn, &write, r, payload, action); err != nil {
				_ = conn.Close()
			}
		})
	}
}

var errDied = errors.New("the daemon died")

func (g *Gateway) answer(conn net.Conn, write *sync.Mutex, r p.Request, payload []byte, action Action) error {
	resp, out := &p.Response{Opcode: r.Opcode, ID: r.ID, Result: p.Killed}, []byte(nil)
	if action != Refuse {
		resp, out = g.cluster.handle(r, payload)
	}
	if resp == nil {
		g.stop()
		return errDied
	}
	header := make([]byte, p.HeaderSize)
	resp.Encode(header)
	message := net.Buffers{header, out}
	if g.forge != nil {
		if b := g.forge(r, resp, out); b != nil {
			message = net.Buffers{b}
		}
	}
	write.Lock()
	defer write.Unlock()
	_, err := message.WriteTo(conn)
	return err
}

// maxPayload is more than any client of these tests sends.
const maxPayload = 64 << 20

func readRequest(conn io.Reader) (p.Request, []byte, error) {
	header := make([]byte, p.HeaderSize)
	if _, err := io.ReadFull(conn, header); err != nil {
		return p.Request{}, nil, err
	}
	r := p.DecodeRequest(header)
	if r.Flags&p.FlagWrite == 0 {
		return r, nil, nil
	}
	if r.DataLength > maxPayload {
		return r, nil, errors.New("the payload is too long")
	}
	payload := make([]byte, r.DataLength)
	_, err := io.ReadFull(conn, payload)
	return r, payload, err
}
