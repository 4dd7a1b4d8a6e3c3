package server_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

// rawClient says what it is told to, right or wrong.
type rawClient struct {
	t  *testing.T
	nc net.Conn
}

func dial(t *testing.T, path string) *rawClient {
	t.Helper()
	nc, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { nc.Close() })
	return &rawClient{t, nc}
}

func (c *rawClient) read(n int) []byte {
	c.t.Helper()
	b := make([]byte, n)
	if err := c.nc.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.ReadFull(c.nc, b); err != nil {
		c.t.Fatal(err)
	}
	return b
}

func (c *rawClient) write(b []byte) {
	c.t.Helper()
	if _, err := c.nc.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// greet exchanges flags.
func (c *rawClient) greet() {
	c.t.Helper()
	c.read(18)
	c.write([]byte{0, 0, 0, 3})
}

// option sends one and reads its replies, as words, up to the last.
func (c *rawClient) option(o protocol.Option, data []byte) []string {
	c.t.Helper()
	c.write(protocol.AppendOption(nil, o, data))
	var out []string
	for {
		k, n, err := protocol.DecodeOptionReply(c.read(protocol.ReplyHeaderSize), o)
		if err != nil {
			c.t.Fatal(err)
		}
		c.read(int(n))
		out = append(out, k.String())
		if k == protocol.RepAck || k.IsError() {
			return out
		}
	}
}

// gone waits until the server has hung up.
func (c *rawClient) gone() {
	c.t.Helper()
	if err := c.nc.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		c.t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, c.nc); errors.Is(err, net.ErrClosed) || isTimeout(err) {
		c.t.Errorf("the server did not hang up: %v", err)
	}
}

func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

func TestHaggling(t *testing.T) {
	_, path := serve(t, emptyDisk(1<<20), server.Options{})
	info := func(name string) []byte { return protocol.InfoRequest{Name: name}.Append(nil) }
	contexts := func(q ...string) []byte { return protocol.ContextRequest{Name: "exp", Queries: q}.Append(nil) }
	c := dial(t, path)
	c.greet()
	for _, step := range []struct {
		option protocol.Option
		data   []byte
		want   []string
	}{
		{protocol.OptList, nil, []string{"server", "ack"}},
		{protocol.OptList, []byte{1}, []string{"invalid"}},
		{99, []byte("what"), []string{"unsupported"}},
		{protocol.OptStartTLS, nil, []string{"denied by policy"}},
		{protocol.OptInfo, info("nope"), []string{"export unknown"}},
		{protocol.OptInfo, []byte("short"), []string{"invalid"}},
		{protocol.OptInfo, info("exp"), []string{"info", "info", "ack"}},
		{protocol.OptSetMetaContext, contexts(protocol.ContextAllocation), []string{"invalid"}},
		{protocol.OptStructuredReply, nil, []string{"ack"}},
		{protocol.OptStructuredReply, nil, []string{"invalid"}},
		{protocol.OptListMetaContext, contexts(), []string{"meta context", "meta context", "ack"}},
		{protocol.OptListMetaContext, contexts("qemu:"), []string{"meta context", "ack"}},
		{protocol.OptSetMetaContext, contexts("qemu:", "x-y:z"), []string{"ack"}},
		{protocol.OptSetMetaContext, contexts(protocol.ContextDepth), []string{"meta context", "ack"}},
		{protocol.OptExtendedHeaders, nil, []string{"ack"}},
		{protocol.OptStructuredReply, nil, []string{"extended headers required"}},
		{protocol.OptGo, info("exp"), []string{"info", "info", "ack"}},
	} {
		if diff := cmp.Diff(step.want, c.option(step.option, step.data)); diff != "" {
			t.Errorf("%v: %s", step.option, diff)
		}
	}
	c.write((&protocol.Request{Command: protocol.CmdDisconnect}).Append(nil, true))
	c.gone()
}

// begin enters transmission with simple replies.
func (c *rawClient) begin() {
	c.t.Helper()
	c.greet()
	c.write(protocol.AppendOption(nil, protocol.OptExportName, []byte("exp")))
	c.read(protocol.ExportNameReplySize)
}

// simple sends a request and returns the error number of the reply.
func (c *rawClient) simple(r protocol.Request, payload []byte) protocol.Errno {
	c.t.Helper()
	c.write(append(r.Append(nil, false), payload...))
	b := c.read(protocol.SimpleReplySize)
	return protocol.Errno(binary.BigEndian.Uint32(b[4:]))
}

func TestRequestsThatMakeNoSenseAreRefused(t *testing.T) {
	_, path := serve(t, emptyDisk(1<<20), server.Options{})
	c := dial(t, path)
	c.begin()
	for _, tt := range []struct {
		name    string
		request protocol.Request
		payload int
		want    protocol.Errno
	}{
		{"read past the end", protocol.Request{Offset: 1 << 20, Length: 1}, 0, protocol.EINVAL},
		{"read that overflows", protocol.Request{Offset: 1<<64 - 1, Length: 2}, 0, protocol.EINVAL},
		{"read of 4 GiB", protocol.Request{Length: 1<<32 - 1}, 0, protocol.EINVAL},
		{"write past the end", protocol.Request{Command: protocol.CmdWrite, Offset: 1<<20 - 1, Length: 2}, 2, protocol.ENOSPC},
		{"unknown command", protocol.Request{Command: 77}, 0, protocol.EINVAL},
		{"unknown flag", protocol.Request{Flags: 1 << 9, Length: 1}, 0, protocol.EINVAL},
		{"chunk asked of simple replies", protocol.Request{Flags: protocol.CmdFlagDontFragment, Length: 1}, 0, protocol.EINVAL},
		{"status that was not agreed on", protocol.Request{Command: protocol.CmdBlockStatus, Length: 1}, 0, protocol.EINVAL},
		{"trim past the end", protocol.Request{Command: protocol.CmdTrim, Length: 2 << 20}, 0, protocol.EINVAL},
		{"and then one that does", protocol.Request{Command: protocol.CmdWrite, Length: 2}, 2, 0},
	} {
		if got := c.simple(tt.request, make([]byte, tt.payload)); got != tt.want {
			t.Errorf("%s: %v, not %v", tt.name, got, tt.want)
		}
	}
}

func TestReadOnlyAndFailingExports(t *testing.T) {
	disk := emptyDisk(1 << 20)
	faulty := blocktest.NewFaulty(disk)
	s, path := serve(t, disk, server.Options{})
	for _, e := range []server.Export{
		{Name: "ro", Backend: server.FromNode(disk), Size: disk.Size(), ReadOnly: true},
		{Name: "bad", Backend: server.FromNode(faulty), Size: disk.Size()},
		{Name: "empty", Backend: server.FromDrive(blockdev.NewDrive(blockdev.DriveConfig{Name: "d"})), Size: 512},
	} {
		if err := s.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Add(server.Export{Name: "ro"}); !errors.Is(err, blockdev.ErrExists) {
		t.Errorf("a second export of one name: %v", err)
	}
	enter := func(name string) *rawClient {
		c := dial(t, path)
		c.greet()
		c.write(protocol.AppendOption(nil, protocol.OptExportName, []byte(name)))
		c.read(protocol.ExportNameReplySize)
		return c
	}
	write := protocol.Request{Command: protocol.CmdWrite, Length: 1}
	if got := enter("ro").simple(write, []byte{1}); got != protocol.EPERM {
		t.Errorf("write to a read-only export: %v", got)
	}
	if got := enter("empty").simple(protocol.Request{Length: 1}, nil); got != protocol.EIO {
		t.Errorf("read of an empty drive: %v", got)
	}
	busy := enter("bad")
	if err := s.Remove("bad", false); !errors.Is(err, blockdev.ErrInUse) {
		t.Errorf("an export in use was removed: %v", err)
	}
	if err := s.Remove("bad", true); err != nil {
		t.Error(err)
	}
	busy.gone()
}

// TestHostileClients: a server gives up a client that breaks the protocol at once, and one
// that goes silent when the time for that is over, and serves others.
func TestHostileClients(t *testing.T) {
	const never, soon = time.Minute, 200 * time.Millisecond
	for name, tt := range map[string]struct {
		handshake, io time.Duration
		hostile       func(c *rawClient)
		log           string
	}{
		"silent":        {2 * time.Second, never, func(c *rawClient) { c.read(18) }, "timeout"},
		"unknown flags": {never, never, func(c *rawClient) { c.read(18); c.write([]byte{0xff, 0xff, 0xff, 0xff}) }, "unknown client flags"},
		"HTTP":          {never, never, func(c *rawClient) { c.greet(); c.write([]byte("GET / HTTP/1.1\r\nHost: example\r\n\r\n")) }, ""},
		"option too long": {never, never, func(c *rawClient) {
			c.greet()
			c.write(protocol.AppendOption(nil, protocol.OptGo, nil)[:12])
			c.write([]byte{0xff, 0xff, 0xff, 0xff})
		}, ""},
		"half a header": {never, soon, func(c *rawClient) { c.begin(); c.write([]byte{0x25, 0x60}) }, "timeout"},
		"no magic":      {never, never, func(c *rawClient) { c.begin(); c.write(make([]byte, protocol.RequestSize)) }, ""},
		"a write that never comes": {never, soon, func(c *rawClient) {
			c.begin()
			c.write((&protocol.Request{Command: protocol.CmdWrite, Length: 1 << 20}).Append(nil, false))
		}, "timeout"},
		"a write longer than any may be": {never, never, func(c *rawClient) {
			c.begin()
			c.write((&protocol.Request{Command: protocol.CmdWrite, Length: 1<<32 - 1}).Append(nil, false))
		}, ""},
		"an answer that is not taken": {never, soon, func(c *rawClient) {
			c.begin()
			c.write((&protocol.Request{Command: protocol.CmdRead, Length: 1 << 20}).Append(nil, false))
		}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			log := make(chan string, 10)
			_, path := serve(t, emptyDisk(1<<20), server.Options{
				HandshakeTimeout: tt.handshake, IOTimeout: tt.io, Log: func(s string) { log <- s },
			})
			good := dial(t, path)
			good.begin()
			c := dial(t, path)
			tt.hostile(c)
			if got := <-log; !strings.Contains(got, tt.log) {
				t.Errorf("the log says %q, want %q", got, tt.log)
			}
			c.gone()
			if got := good.simple(protocol.Request{Command: protocol.CmdFlush}, nil); got != 0 {
				t.Errorf("the good client is told %v", got)
			}
		})
	}
}

func TestThousandConnections(t *testing.T) {
	_, path := serve(t, emptyDisk(1<<20), server.Options{
		MaxConnections: 8, HandshakeTimeout: time.Minute, IOTimeout: time.Minute,
	})
	good := dial(t, path)
	good.begin()
	for range 1000 {
		nc, err := net.DialTimeout("unix", path, time.Minute)
		if err != nil {
			continue // the system's queue of connections is full
		}
		defer nc.Close()
	}
	if got := good.simple(protocol.Request{Command: protocol.CmdFlush}, nil); got != 0 {
		t.Errorf("the good client is told %v", got)
	}
}

// TestPlainTextBehindStartTLS: what is sent in plain text with the option must not be
// taken as the private part (CVE-2021-3716 was one of those).
func TestPlainTextBehindStartTLS(t *testing.T) {
	_, path := serve(t, emptyDisk(1<<20), server.Options{TLS: &tls.Config{}})
	c := dial(t, path)
	c.greet()
	if got := c.option(protocol.OptList, nil); got[0] != "TLS required" {
		t.Errorf("list before TLS: %v", got)
	}
	injected := protocol.AppendOption(nil, protocol.OptStartTLS, nil)
	c.write(protocol.AppendOption(injected, protocol.OptList, nil))
	c.gone()
}

// TestBlockStatusWithPayload asks for one of two contexts, which only extended headers
// allow, and for one that was not selected.
func TestBlockStatusWithPayload(t *testing.T) {
	_, path := serve(t, emptyDisk(8<<30), server.Options{})
	c := dial(t, path)
	c.greet()
	queries := protocol.ContextRequest{Name: "exp", Queries: []string{protocol.ContextAllocation, protocol.ContextDepth}}
	c.option(protocol.OptExtendedHeaders, nil)
	c.option(protocol.OptSetMetaContext, queries.Append(nil))
	c.option(protocol.OptGo, protocol.InfoRequest{Name: "exp"}.Append(nil))
	ask := func(ids ...uint32) (protocol.Reply, []byte) {
		query := protocol.AppendStatusQuery(nil, 6<<30, ids)
		r := protocol.Request{
			Flags: protocol.CmdFlagPayloadLength, Command: protocol.CmdBlockStatus, Cookie: 5, Offset: 1 << 30, Length: uint64(len(query)),
		}
		c.write(append(r.Append(nil, true), query...))
		h, err := protocol.DecodeReply(c.read(protocol.ExtendedReplySize), protocol.ExtendedReplies)
		if err != nil {
			t.Fatal(err)
		}
		return h, c.read(int(h.Length))
	}
	h, payload := ask(1)
	id, extents, err := protocol.DecodeBlockStatus(payload, true)
	if want := []protocol.Extent{{Length: 6 << 30, Flags: 1}}; err != nil || id != 1 || !h.Done() || !cmp.Equal(want, extents) {
		t.Errorf("%+v: context %d is %v, %v", h, id, extents, err)
	}
	if h, _ := ask(7); h.Kind != protocol.ChunkError {
		t.Errorf("a context that was not selected: %v", h.Kind)
	}
}

// TestAnswersDoNotWait: answers that the server holds back, because more has come, are sent
// before it waits for the rest of that, and before it hangs up.
func TestAnswersDoNotWait(t *testing.T) {
	_, path := serve(t, emptyDisk(1<<20), server.Options{})
	c := dial(t, path)
	c.begin()
	read := (&protocol.Request{Command: protocol.CmdRead, Length: 512}).Append(nil, false)
	write := (&protocol.Request{Command: protocol.CmdWrite, Length: 512}).Append(nil, false)
	leave := (&protocol.Request{Command: protocol.CmdDisconnect}).Append(nil, false)
	reads := bytes.Repeat(read, 101) // so many that the disk is known to be quick
	answers := 101 * (protocol.SimpleReplySize + 512)
	c.write(append(reads, write[:20]...))
	c.read(answers)
	c.write(append(write[20:], make([]byte, 100)...))
	c.write(make([]byte, 412))
	c.read(protocol.SimpleReplySize)
	c.write(append(reads, leave...))
	c.read(answers)
	c.gone()
}
