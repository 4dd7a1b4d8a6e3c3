package server_test

import (
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

// FuzzClient: whatever a client says, from its first byte on, the server neither panics nor
// hangs nor writes outside of the export.
func FuzzClient(f *testing.F) {
	for _, extended := range []bool{false, true} {
		b := []byte{0, 0, 0, 3}
		if extended {
			b = protocol.AppendOption(b, protocol.OptExtendedHeaders, nil)
		} else {
			b = protocol.AppendOption(b, protocol.OptStructuredReply, nil)
		}
		b = protocol.AppendOption(b, protocol.OptList, nil)
		q := protocol.ContextRequest{Name: "exp", Queries: []string{protocol.ContextAllocation, protocol.ContextBitmap + "b"}}
		b = protocol.AppendOption(b, protocol.OptSetMetaContext, q.Append(nil))
		b = protocol.AppendOption(b, protocol.OptGo, protocol.InfoRequest{Name: "exp"}.Append(nil))
		for cmd := range protocol.CmdBlockStatus + 1 {
			if cmd == protocol.CmdDisconnect {
				continue
			}
			r := protocol.Request{Command: cmd, Cookie: uint64(cmd), Length: 512}
			b = r.Append(b, extended)
			if cmd == protocol.CmdWrite {
				b = append(b, make([]byte, 512)...)
			}
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, says []byte) {
		disk := emptyDisk(1 << 20)
		dirty, err := blockdev.NewDirtyBitmap(disk.Size(), 65536)
		if err != nil {
			t.Fatal(err)
		}
		s := server.New(server.Options{HandshakeTimeout: time.Second, IOTimeout: time.Second})
		e := server.Export{
			Name: "exp", Backend: server.FromNode(disk), Size: disk.Size(), AllocationDepth: true,
			Bitmaps: []server.Bitmap{{Name: "b", Dirty: dirty}},
		}
		if err := s.Add(e); err != nil {
			t.Fatal(err)
		}
		ours, theirs := net.Pipe()
		heard := make(chan struct{})
		go func() {
			_, _ = io.Copy(io.Discard, ours)
			close(heard)
		}()
		go func() {
			_, _ = ours.Write(says)
			ours.Close()
		}()
		_ = s.ServeConn(context.Background(), theirs)
		<-heard
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if disk.Size() != 1<<20 {
			t.Errorf("the disk has %d bytes", disk.Size())
		}
	})
}
