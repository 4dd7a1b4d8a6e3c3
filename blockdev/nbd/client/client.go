package client

import (
	"context"
	"crypto/tls"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
)

// Limits and defaults.
const (
	// MaxConnections is how many connections a client makes at most; more gained nothing.
	MaxConnections = 16
	// defaultHandshakeTimeout is generous: a server that serves few clients at a time lets
	// the next one wait.
	defaultHandshakeTimeout = 30 * time.Second
	// maxRange is the longest range of a request without data, in bytes: a multiple of any
	// block size that fits 32 bits.
	maxRange = 1 << 30
)

// Config says whom to talk to and how. Only Dial is needed.
type Config struct {
	// Dial connects to the server. It is called again to reconnect.
	Dial func(ctx context.Context) (net.Conn, error)
	// Address is how messages call the server.
	Address string
	// Export is the name of the export, "" for the default one.
	Export string
	// TLS, if set, is started before anything is asked; a server that has none is refused.
	TLS *tls.Config
	// Contexts are the metadata contexts to ask for, such as protocol.ContextAllocation. The
	// server may have none of them: see Client.HasContext.
	Contexts []string
	// Replies is the richest kind of reply to ask for; the zero value asks for extended ones.
	Replies Replies
	// Connections are opened where the server says that several are safe; 0 is one.
	Connections int
	// ReconnectDelay is how long requests wait for a lost connection to come back before
	// they fail. 0: those in flight fail at once.
	ReconnectDelay time.Duration
	// OpenTimeout is how long Connect tries again. 0: it tries once.
	OpenTimeout time.Duration
	// HandshakeTimeout bounds one handshake, 0 for the default (30 s).
	HandshakeTimeout time.Duration
}

// Replies is a choice of reply modes.
type Replies uint8

// The choices.
const (
	AskExtended Replies = iota
	AskStructured
	AskNothing
)

// Client is a connection, or several, to one export. It is safe for concurrent use.
type Client struct {
	config Config
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	first  *session // what the first handshake agreed on
	links  []*link
	next   atomic.Uint32
	status statusCache

	closing sync.Once
}

// Connect makes the connections. ctx bounds it, not the client.
func Connect(ctx context.Context, c Config) (*Client, error) {
	if c.HandshakeTimeout <= 0 {
		c.HandshakeTimeout = defaultHandshakeTimeout
	}
	own, cancel := context.WithCancel(context.Background())
	client := &Client{config: c, ctx: own, cancel: cancel}
	first, err := client.open(ctx)
	if err != nil {
		cancel()
		return nil, err
	}
	client.first = &first.session
	client.links = []*link{newLink(client, first)}
	if first.info.Flags&protocol.FlagCanMultiConn != 0 {
		client.openMore(ctx, min(c.Connections, MaxConnections))
	}
	return client, nil
}

// openMore opens connections up to n. A server that has no more is no failure.
func (c *Client) openMore(ctx context.Context, n int) {
	for len(c.links) < n {
		conn, err := c.dial(ctx)
		if err != nil {
			return
		}
		c.links = append(c.links, newLink(c, conn))
	}
}

// open makes the first connection, trying for as long as OpenTimeout says.
func (c *Client) open(ctx context.Context) (*conn, error) {
	deadline := time.Now().Add(c.config.OpenTimeout)
	pause := firstPause
	for {
		conn, err := c.dial(ctx)
		left := time.Until(deadline)
		if err == nil || !retryable(err) || left <= 0 {
			return conn, err
		}
		if !sleep(ctx, min(pause, left)) {
			return nil, context.Cause(ctx)
		}
		pause = min(2*pause, longestPause)
	}
}

// Info is what the server told about the export. Sizes of requests that it left open are
// filled in.
func (c *Client) Info() protocol.ExportInfo { return c.first.info }

// Replies is how the server answers.
func (c *Client) Replies() protocol.ReplyMode { return c.first.mode }

// Contexts are the metadata contexts that the server has selected.
func (c *Client) Contexts() []string {
	var out []string
	for _, m := range c.first.contexts {
		out = append(out, m.Name)
	}
	return out
}

// HasContext tells if block status has that context.
func (c *Client) HasContext(name string) bool {
	for _, m := range c.first.contexts {
		if m.Name == name {
			return true
		}
	}
	return false
}

// Size is the length of the export, in bytes.
func (c *Client) Size() int64 { return int64(c.first.info.Size) }

// Close says goodbye and closes all connections. Requests in flight fail.
func (c *Client) Close() error {
	c.closing.Do(func() {
		c.cancel()
		for _, l := range c.links {
			l.close()
		}
	})
	return nil
}

// can tells if the server has announced flag.
func (c *Client) can(flag protocol.TransmissionFlags) bool { return c.first.info.Flags&flag != 0 }

// ReadAt reads len(p) bytes at off, or fails.
func (c *Client) ReadAt(p []byte, off int64) (int, error) {
	if err := c.inside("read", off, int64(len(p))); err != nil {
		return 0, err
	}
	err := c.pieces(off, int64(len(p)), c.maxData(), func(at, n int64) error {
		r := &call{into: p[at-off : at-off+n]}
		r.request = protocol.Request{Command: protocol.CmdRead, Offset: uint64(at), Length: uint64(n)}
		return c.do("read", r)
	})
	return completed(p, err)
}

// WriteAt writes p at off.
func (c *Client) WriteAt(p []byte, off int64) (int, error) { return c.Write(p, off, 0) }

// Write is WriteAt with flags: protocol.CmdFlagFUA.
func (c *Client) Write(p []byte, off int64, flags protocol.CommandFlags) (int, error) {
	if err := c.change("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	err := c.pieces(off, int64(len(p)), c.maxData(), func(at, n int64) error {
		r := &call{payload: p[at-off : at-off+n]}
		r.request = protocol.Request{Flags: flags, Command: protocol.CmdWrite, Offset: uint64(at), Length: uint64(n)}
		if c.first.mode == protocol.ExtendedReplies {
			r.request.Flags |= protocol.CmdFlagPayloadLength
		}
		return c.do("write", r)
	})
	return completed(p, err)
}

func completed(p []byte, err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush makes all completed writes survive a crash. Servers that cannot are believed to
// keep nothing back.
func (c *Client) Flush() error {
	if !c.can(protocol.FlagSendFlush) || c.can(protocol.FlagReadOnly) {
		return nil
	}
	return c.do("flush", &call{request: protocol.Request{Command: protocol.CmdFlush}})
}

// Trim tells the server that the range is not needed; one that cannot use that is not told.
func (c *Client) Trim(off, n int64) error {
	if err := c.change("discard", off, n); err != nil || !c.can(protocol.FlagSendTrim) {
		return err
	}
	return c.ranged("discard", protocol.CmdTrim, 0, off, n)
}

// WriteZeroes makes the range read as zeroes. ErrNotSupported if the server has no such
// command, or with protocol.CmdFlagFastZero if it would take as long as writing.
func (c *Client) WriteZeroes(off, n int64, flags protocol.CommandFlags) error {
	if err := c.change("write", off, n); err != nil {
		return err
	}
	fast := flags&protocol.CmdFlagFastZero != 0
	if !c.can(protocol.FlagSendWriteZeroes) || fast && !c.can(protocol.FlagSendFastZero) {
		return blockdev.Errorf(blockdev.ErrNotSupported, "write", c.config.Address, "Operation not supported")
	}
	return c.ranged("write", protocol.CmdWriteZeroes, flags, off, n)
}

// Cache asks the server to have the range at hand soon.
func (c *Client) Cache(off, n int64) error {
	if err := c.inside("cache", off, n); err != nil || !c.can(protocol.FlagSendCache) {
		return err
	}
	return c.ranged("cache", protocol.CmdCache, 0, off, n)
}

// ranged sends a command without data for the range, in pieces.
func (c *Client) ranged(op string, cmd protocol.Command, flags protocol.CommandFlags, off, n int64) error {
	return c.pieces(off, n, maxRange, func(at, n int64) error {
		r := protocol.Request{Flags: flags, Command: cmd, Offset: uint64(at), Length: uint64(n)}
		return c.do(op, &call{request: r})
	})
}

// maxData is how much a read or write carries.
func (c *Client) maxData() int64 { return int64(c.first.info.Blocks.Maximum) }

// pieces cuts a range: its parts end at multiples of most.
func (c *Client) pieces(off, n, most int64, do func(off, n int64) error) error {
	for n > 0 {
		k := min(n, most-off%most)
		if err := do(off, k); err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

func (c *Client) inside(op string, off, n int64) error {
	if size := c.Size(); off < 0 || n < 0 || off > size || n > size-off {
		return blockdev.ErrorAt(blockdev.ErrRange, op, c.config.Address, off, "%d bytes do not fit in %d", n, size)
	}
	return nil
}

// change checks a request that changes the export.
func (c *Client) change(op string, off, n int64) error {
	if c.can(protocol.FlagReadOnly) {
		return blockdev.Errorf(blockdev.ErrReadOnly, op, c.config.Address, "request on write denied without write permission")
	}
	c.status.forget()
	return c.inside(op, off, n)
}

// do sends a request over one of the links, and again over a new connection if the one it
// was sent over is lost.
func (c *Client) do(op string, r *call) error {
	l := c.links[int(c.next.Add(1))%len(c.links)]
	err := l.do(r)
	if r.request.Command == protocol.CmdWrite || r.request.Command == protocol.CmdWriteZeroes || r.request.Command == protocol.CmdTrim {
		c.status.forget()
	}
	if err == nil {
		return nil
	}
	e := &blockdev.Error{Op: op, File: c.config.Address, Offset: int64(r.request.Offset), Err: err}
	if op == "flush" {
		e.Offset = blockdev.NoOffset
	}
	return e
}
