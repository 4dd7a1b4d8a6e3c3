package client_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// disk is a MiB of a pattern, a MiB of holes, and 2 MiB of the pattern.
func disk(t *testing.T) *blocktest.Memory {
	t.Helper()
	n := blocktest.NewMemory(pattern(4 << 20))
	if err := n.Discard(1<<20, 1<<20); err != nil {
		t.Fatal(err)
	}
	return n
}

func pattern(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// connect connects a client to a server over an in-memory connection.
func connect(t *testing.T, s *server.Server, c client.Config) *client.Client {
	t.Helper()
	c.Address = "test"
	if c.Dial == nil {
		c.Dial = pipeTo(t, s)
	}
	conn, err := client.Connect(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
	})
	return conn
}

// pipeTo dials s without a network.
func pipeTo(t *testing.T, s *server.Server) func(context.Context) (net.Conn, error) {
	var serving sync.WaitGroup
	t.Cleanup(serving.Wait)
	return func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		serving.Go(func() { _ = s.ServeConn(context.Background(), theirs) })
		return ours, nil
	}
}

func newServer(t *testing.T, n blockdev.Node, e server.Export) *server.Server {
	t.Helper()
	s := server.New(server.Options{})
	e.Backend, e.Size = server.FromNode(n), n.Size()
	if err := s.Add(e); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestEveryKindOfReply(t *testing.T) {
	for ask, mode := range map[client.Replies]protocol.ReplyMode{
		client.AskNothing: protocol.SimpleReplies, client.AskStructured: protocol.StructuredReplies,
		client.AskExtended: protocol.ExtendedReplies,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			d := disk(t)
			c := connect(t, newServer(t, d, server.Export{}), client.Config{
				Replies: ask, Contexts: []string{protocol.ContextAllocation}, Connections: 3,
			})
			if c.Replies() != mode {
				t.Fatalf("replies are %v", c.Replies())
			}
			requests(t, c, d)
			if c.HasContext(protocol.ContextAllocation) != (mode != protocol.SimpleReplies) {
				t.Errorf("contexts are %v", c.Contexts())
			}
		})
	}
}

// requests makes one of each and compares with what d holds.
func requests(t *testing.T, c *client.Client, d *blocktest.Memory) {
	t.Helper()
	check := func(what string, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
		got := make([]byte, d.Size())
		if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, d.Bytes()) {
			t.Errorf("after %s the client reads something else (%v)", what, err)
		}
	}
	check("connecting", nil)
	_, err := c.Write(pattern(3<<20), 12345, protocol.CmdFlagFUA)
	check("write", err)
	check("zeroes", c.WriteZeroes(70000, 100000, 0))
	check("zeroes kept", c.WriteZeroes(300000, 100000, protocol.CmdFlagNoHole))
	check("trim", c.Trim(1<<20, 1<<20))
	check("cache", c.Cache(0, 1<<20))
	check("flush", c.Flush())
	if _, err := c.ReadAt(make([]byte, 2), d.Size()-1); !errors.Is(err, blockdev.ErrRange) {
		t.Errorf("read past the end: %v", err)
	}
}

func TestBlockStatus(t *testing.T) {
	d := disk(t)
	c := connect(t, newServer(t, d, server.Export{AllocationDepth: true}), client.Config{
		Contexts: []string{protocol.ContextAllocation, protocol.ContextDepth, "no:such"},
	})
	hole := protocol.StateHole | protocol.StateZero
	want := []protocol.Extent{{Length: 1 << 20}, {Length: 1 << 20, Flags: hole}, {Length: 2 << 20}}
	got, err := c.BlockStatus(protocol.ContextAllocation, 0, d.Size())
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	got, err = c.BlockStatus(protocol.ContextDepth, 1<<20, 4096)
	if diff := cmp.Diff([]protocol.Extent{{Length: 4096, Flags: 1}}, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	if _, err := c.BlockStatus("no:such", 0, 1); !errors.Is(err, blockdev.ErrNotSupported) {
		t.Errorf("a context that the server has not: %v", err)
	}
	at := func() uint64 {
		e, err := c.ExtentAt(protocol.ContextAllocation, 1<<20, 4096)
		if err != nil {
			t.Fatal(err)
		}
		return e.Flags
	}
	before := at()
	if _, err := c.WriteAt(pattern(4096), 1<<20); err != nil {
		t.Fatal(err)
	}
	if after := at(); before != hole || after != 0 {
		t.Errorf("a hole is %d, and written %d", before, after)
	}
}

// TestBlockStatusAtAPartOfABlock: nothing is asked about a last block that is not whole.
func TestBlockStatusAtAPartOfABlock(t *testing.T) {
	d := &askedFor{Memory: blocktest.NewMemory(make([]byte, 10*512+100))}
	blocks := protocol.BlockSizes{Minimum: 512, Preferred: 4096, Maximum: 1 << 20}
	c := connect(t, newServer(t, d, server.Export{Blocks: blocks}), client.Config{Contexts: []string{protocol.ContextAllocation}})
	if e, err := c.ExtentAt(protocol.ContextAllocation, 512, 512); err != nil || e.Length != 512 {
		t.Errorf("%+v, %v", e, err)
	}
	if d.end != 10*512 {
		t.Errorf("asked about %d bytes", d.end)
	}
}

// askedFor notes how far its Map was asked to look.
type askedFor struct {
	*blocktest.Memory
	end int64
}

func (a *askedFor) Map(off, n int64) (blockdev.Extent, error) {
	a.end = max(a.end, off+n)
	return a.Memory.Map(off, n)
}

func TestErrorsOfTheServerHaveItsWords(t *testing.T) {
	faulty := blocktest.NewFaulty(disk(t), blocktest.Fault{Op: blocktest.OpRead | blocktest.OpWrite, Err: syscall.ENOSPC})
	c := connect(t, newServer(t, faulty, server.Export{}), client.Config{})
	_, err := c.WriteAt(make([]byte, 512), 512)
	var e *blockdev.Error
	if !errors.Is(err, blockdev.ErrNoSpace) || !errors.As(err, &e) || e.Offset != 512 {
		t.Errorf("a full disk is reported as %v", err)
	}
	if _, err := c.ReadAt(make([]byte, 1<<20), 0); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("a failing read is reported as %v", err)
	}
	refused := client.Config{Dial: pipeTo(t, newServer(t, faulty, server.Export{})), Export: "other", Address: "test"}
	if _, err := client.Connect(t.Context(), refused); !errors.Is(err, blockdev.ErrNotFound) {
		t.Errorf("an export that is not there: %v", err)
	}
}

// flaky is a dialer whose connections can be cut.
type flaky struct {
	dial func(context.Context) (net.Conn, error)
	mu   sync.Mutex
	down bool
	all  []net.Conn
}

func (f *flaky) Dial(ctx context.Context) (net.Conn, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, syscall.ECONNREFUSED
	}
	nc, err := f.dial(ctx)
	f.all = append(f.all, nc)
	return nc, err
}

// cut ends all connections; nobody gets a new one while down.
func (f *flaky) cut(down bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down = down
	for _, nc := range f.all {
		nc.Close()
	}
	f.all = nil
}

// TestLostConnections: writers go on while their connections are cut again and again, and
// at the end every write is there.
func TestLostConnections(t *testing.T) {
	d := disk(t)
	f := &flaky{dial: pipeTo(t, newServer(t, d, server.Export{}))}
	c := connect(t, nil, client.Config{Dial: f.Dial, ReconnectDelay: time.Minute, Connections: 2})
	var writers sync.WaitGroup
	var done atomic.Int64
	for w := range int64(4) {
		writers.Go(func() {
			for i := range int64(100) {
				p := bytes.Repeat([]byte{byte(w*50 + i)}, 4096)
				if _, err := c.WriteAt(p, (w*100+i)*4096); err != nil {
					t.Error(err)
				}
				if done.Add(1)%20 == 0 { // the others are in the middle of something
					f.cut(true)
					f.cut(false)
				}
			}
		})
	}
	writers.Wait()
	for w := range int64(4) {
		for i := range int64(100) {
			if got := d.Bytes()[(w*100+i)*4096]; got != byte(w*50+i) {
				t.Fatalf("write %d of writer %d is lost", i, w)
			}
		}
	}
}

func TestServerThatStaysAway(t *testing.T) {
	s := newServer(t, disk(t), server.Export{})
	for _, delay := range []time.Duration{0, 200 * time.Millisecond} {
		f := &flaky{dial: pipeTo(t, s)}
		c := connect(t, nil, client.Config{Dial: f.Dial, ReconnectDelay: delay})
		f.cut(true)
		for range 2 {
			if _, err := c.ReadAt(make([]byte, 512), 0); !errors.Is(err, syscall.EIO) {
				t.Errorf("with a delay of %v: %v", delay, err)
			}
		}
	}
}

func TestOpenTimeout(t *testing.T) {
	f := &flaky{dial: pipeTo(t, newServer(t, disk(t), server.Export{})), down: true}
	time.AfterFunc(100*time.Millisecond, func() { f.cut(false) })
	connect(t, nil, client.Config{Dial: f.Dial, OpenTimeout: time.Minute})
	f.cut(true)
	if _, err := client.Connect(t.Context(), client.Config{Dial: f.Dial, Address: "a:1"}); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without a timeout: %v", err)
	}
}

// TestHostileServers: each says something that a client must not believe.
func TestHostileServers(t *testing.T) {
	greeting := binary.BigEndian.AppendUint64(nil, protocol.MagicInit)
	old := binary.BigEndian.AppendUint64(greeting[:8:8], protocol.MagicOldstyle)
	old = binary.BigEndian.AppendUint64(old, 1<<20)
	old = append(old, make([]byte, 4+124)...)
	fixed := binary.BigEndian.AppendUint64(greeting[:8:8], protocol.MagicOption)
	fixed = binary.BigEndian.AppendUint16(fixed, protocol.FlagFixedNewstyle)
	huge := binary.BigEndian.AppendUint64(greeting[:8:8], protocol.MagicOldstyle)
	huge = append(binary.BigEndian.AppendUint64(huge, 1<<64-1), make([]byte, 4+124)...)
	for name, tt := range map[string]struct {
		says []byte
		open bool // the handshake succeeds, the read after it fails
	}{
		"nothing":                     {nil, false},
		"something else":              {bytes.Repeat([]byte("SSH-2.0-"), 4), false},
		"a size over any":             {huge, false},
		"a reply to another option":   {protocol.AppendOptionReply(fixed[:18:18], protocol.OptList, protocol.RepAck, nil), false},
		"a reply of 4 GiB":            {append(fixed[:18:18], 0, 3, 0xe8, 0x89, 4, 0x55, 0x65, 0xa9, 0, 0, 0, 11, 0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff), false},
		"a reply to no request":       {protocol.AppendSimple(old[:len(old):len(old)], 99, 0), true},
		"a structured reply, unasked": {(&protocol.Reply{Cookie: 1}).Append(old[:len(old):len(old)], protocol.StructuredReplies), true},
		"half an answer":              {protocol.AppendSimple(old[:len(old):len(old)], 1, 0), true},
	} {
		t.Run(name, func(t *testing.T) {
			patience := time.Minute
			if tt.says == nil {
				patience = 200 * time.Millisecond
			}
			c, err := client.Connect(t.Context(), client.Config{
				Address: "hostile", HandshakeTimeout: patience, Dial: sayer(t, tt.says),
			})
			if (err == nil) != tt.open {
				t.Fatalf("connecting: %v", err)
			}
			if err != nil {
				return
			}
			defer c.Close()
			if _, err := c.ReadAt(make([]byte, 512), 0); !errors.Is(err, syscall.EIO) {
				t.Errorf("read: %v", err)
			}
		})
	}
}

// TestServerThatLeavesTheSizeOut enters transmission without having told of the export.
func TestServerThatLeavesTheSizeOut(t *testing.T) {
	says := binary.BigEndian.AppendUint64(nil, protocol.MagicInit)
	says = binary.BigEndian.AppendUint64(says, protocol.MagicOption)
	says = binary.BigEndian.AppendUint16(says, protocol.FlagFixedNewstyle)
	says = protocol.AppendOptionReply(says, protocol.OptGo, protocol.RepAck, nil)
	var running sync.WaitGroup
	defer running.Wait()
	dial := func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		running.Go(func() { _, _ = io.Copy(io.Discard, theirs) })
		running.Go(func() { _, _ = theirs.Write(says) })
		return ours, nil
	}
	c, err := client.Connect(t.Context(), client.Config{Address: "silent", Dial: dial, Replies: client.AskNothing})
	if !errors.Is(err, protocol.ErrProtocol) || blockdev.Message(err) != "broken server omitted NBD_INFO_EXPORT" {
		t.Error(err)
	}
	if err == nil {
		c.Close()
	}
}

// sayer dials a server that says its lines, waits for a request, and hangs up.
func sayer(t *testing.T, lines []byte) func(context.Context) (net.Conn, error) {
	var running sync.WaitGroup
	t.Cleanup(running.Wait)
	return func(context.Context) (net.Conn, error) {
		ours, theirs := net.Pipe()
		running.Go(func() {
			defer theirs.Close()
			go func() { _, _ = theirs.Write(lines) }()
			_ = theirs.SetReadDeadline(time.Now().Add(time.Minute))
			_, _ = io.ReadFull(theirs, make([]byte, protocol.RequestSize))
		})
		return ours, nil
	}
}

// FuzzServer: whatever a server says, the client neither panics nor hangs.
func FuzzServer(f *testing.F) {
	b := binary.BigEndian.AppendUint64(nil, protocol.MagicInit)
	b = binary.BigEndian.AppendUint64(b, protocol.MagicOption)
	b = binary.BigEndian.AppendUint16(b, protocol.FlagFixedNewstyle|protocol.FlagNoZeroes)
	b = protocol.AppendOptionReply(b, protocol.OptExtendedHeaders, protocol.RepErrUnsupported, nil)
	b = protocol.AppendOptionReply(b, protocol.OptStructuredReply, protocol.RepAck, nil)
	b = protocol.AppendOptionReply(b, protocol.OptSetMetaContext, protocol.RepMetaContext, protocol.Context{Name: protocol.ContextAllocation}.Append(nil))
	b = protocol.AppendOptionReply(b, protocol.OptSetMetaContext, protocol.RepAck, nil)
	info := &protocol.ExportInfo{Size: 4096}
	b = protocol.AppendOptionReply(b, protocol.OptGo, protocol.RepInfo, info.Append(nil, protocol.InfoExport))
	b = protocol.AppendOptionReply(b, protocol.OptGo, protocol.RepAck, nil)
	hole := &protocol.Reply{Flags: protocol.ReplyFlagDone, Kind: protocol.ChunkHole, Cookie: 1, Length: protocol.HolePayload}
	f.Add(protocol.AppendHole(hole.Append(b, protocol.StructuredReplies), 0, 512))
	f.Fuzz(func(t *testing.T, says []byte) {
		dial := func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			go func() {
				_, _ = theirs.Write(says)
				theirs.Close()
			}()
			return ours, nil
		}
		c, err := client.Connect(t.Context(), client.Config{
			Address: "fuzz", Dial: dial, HandshakeTimeout: time.Second, Contexts: []string{protocol.ContextAllocation},
		})
		if err != nil {
			return
		}
		_, _ = c.ReadAt(make([]byte, 512), 0)
		_, _ = c.ExtentAt(protocol.ContextAllocation, 0, 512)
		c.Close()
	})
}

// TestServerThatPads: the first servers that took names put zeroes behind their answer, and
// know nothing of not doing so.
func TestServerThatPads(t *testing.T) {
	says := binary.BigEndian.AppendUint64(nil, protocol.MagicInit)
	says = binary.BigEndian.AppendUint64(says, protocol.MagicOption)
	says = binary.BigEndian.AppendUint16(says, 0)
	says = binary.BigEndian.AppendUint64(says, 1<<20)
	says = append(says, make([]byte, 2+protocol.ExportNamePadding)...)
	want := bytes.Repeat([]byte{7}, 512)
	says = append(protocol.AppendSimple(says, 1, 0), want...)
	c, err := client.Connect(t.Context(), client.Config{Address: "old", Dial: sayer(t, says)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got := make([]byte, len(want))
	if _, err := c.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %x, %v", got[:4], err)
	}
}
