package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

// heap is what the program holds in memory after a collection, in bytes.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse)
}

// descriptors counts the open files of this process; 0 where the system does not tell.
func descriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}

// TestGreedyClientIsBounded: a client asks for gigabytes and takes nothing. The server holds
// no more than ConnectionMemory for it, serves others, and forgets it when it is gone.
func TestGreedyClientIsBounded(t *testing.T) {
	_, path := serve(t, emptyDisk(64<<20), server.Options{IOTimeout: time.Minute})
	good := dial(t, path)
	good.begin()
	filesBefore, before := descriptors(), heap()
	greedy := dial(t, path)
	greedy.begin()
	var b []byte
	for i := range 1000 {
		b = (&protocol.Request{Cookie: uint64(i), Length: protocol.MaxPayload}).Append(b, false)
	}
	greedy.write(b)
	most := int64(0)
	for range 20 {
		time.Sleep(10 * time.Millisecond)
		most = max(most, heap()-before)
		if got := good.simple(protocol.Request{Length: 1 << 16}, nil); got != 0 {
			t.Fatalf("the good client is told %v", got)
		}
		good.read(1 << 16)
	}
	const slack = 4 << 20 // what the tests themselves take
	if most > server.ConnectionMemory+slack {
		t.Errorf("%d bytes are held for one client", most)
	}
	greedy.nc.Close()
	for deadline := time.Now().Add(time.Minute); descriptors() > filesBefore; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d files are open, %d were", descriptors(), filesBefore)
		}
	}
}

// TestPlainTextAfterTLS: what is not encrypted ends a connection that is.
func TestPlainTextAfterTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	_, path := serve(t, emptyDisk(1<<20), server.Options{
		TLS: &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{cert}, PrivateKey: key}}},
	})
	c := dial(t, path)
	c.greet()
	if got := c.option(protocol.OptStartTLS, nil); got[0] != "ack" {
		t.Fatalf("STARTTLS: %v", got)
	}
	plain := c.nc
	c.nc = tls.Client(plain, &tls.Config{InsecureSkipVerify: true})
	if got := c.option(protocol.OptStartTLS, nil); got[0] != "invalid" {
		t.Errorf("STARTTLS twice: %v", got)
	}
	c.write(protocol.AppendOption(nil, protocol.OptExportName, []byte("exp")))
	c.read(protocol.ExportNameReplySize)
	c.nc = plain
	c.write((&protocol.Request{Length: 512}).Append(nil, false))
	c.gone()
}

// exhausted is a listener that finds no descriptor for its first client.
type exhausted struct {
	net.Listener
	failed bool
}

func (e *exhausted) Accept() (net.Conn, error) {
	if !e.failed {
		e.failed = true
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	return e.Listener.Accept()
}

// TestOutOfDescriptors: a server outlives that.
func TestOutOfDescriptors(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error)
	disk := emptyDisk(4096)
	go func() {
		served <- server.Serve(ctx, &exhausted{Listener: l}, server.Export{Name: "exp", Backend: server.FromNode(disk), Size: disk.Size()})
	}()
	c := dial(t, path)
	c.begin()
	if got := c.simple(protocol.Request{Command: protocol.CmdFlush}, nil); got != 0 {
		t.Errorf("the client is told %v", got)
	}
	cancel()
	if err := <-served; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestImpossibleBlockSizes: an export with sizes that no request can have is refused.
func TestImpossibleBlockSizes(t *testing.T) {
	s := server.New(server.Options{})
	for _, b := range []protocol.BlockSizes{{Maximum: 1 << 20}, {Minimum: 1, Preferred: 4096}, {Minimum: 3, Preferred: 4096, Maximum: 8192}} {
		if err := s.Add(server.Export{Blocks: b}); !errors.Is(err, blockdev.ErrInvalid) {
			t.Errorf("%+v: %v", b, err)
		}
	}
}
