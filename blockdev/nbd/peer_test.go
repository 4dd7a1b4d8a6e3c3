package nbd_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/file"
	"github.com/qmon/qmon/blockdev/nbd"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	_ "github.com/qmon/qmon/formats/raw"
	"github.com/qmon/qmon/internal/peer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// kit is nbdkit's command line; its plug-in and filters follow. Debian has it exit with its
// parent if it is asked to, which no test needs.
func kit(socket string, args ...string) []string {
	return append([]string{"nbdkit", "-f", "-U", socket}, args...)
}

func open(t *testing.T, options blockdev.Options) *nbd.Node {
	t.Helper()
	n, err := tryOpen(t, options)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// tryOpen opens a node for writing that gives storage back.
func tryOpen(t *testing.T, options blockdev.Options) (*nbd.Node, error) {
	t.Helper()
	options["driver"] = "nbd"
	mode := blockdev.Mode{Writable: true, AutoReadOnly: true, Unmap: true}
	v, err := new(blockdev.Graph).OpenDescription(t.Context(), options, blockdev.OpenOptions{Mode: mode})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { v.Unref() })
	return v.Node.(*nbd.Node), nil
}

func unix(socket, export string) blockdev.Options {
	o := blockdev.Options{"server.type": "unix", "server.path": socket}
	if export != "" {
		o["export"] = export
	}
	return o
}

// exercise does random requests and compares with a model that knows what they mean.
func exercise(t *testing.T, n *nbd.Node) {
	t.Helper()
	exerciseWith(t, n, 4)
}

// readsAndWrites are the first of exerciseWith's kinds of requests.
const readsAndWrites = 2

func exerciseWith(t *testing.T, n *nbd.Node, kinds int) {
	t.Helper()
	model := make([]byte, n.Size())
	if _, err := n.ReadAt(model, 0); err != nil {
		t.Fatal(err)
	}
	random := rand.New(rand.NewPCG(1, 2))
	check := func(off int64, want []byte) {
		t.Helper()
		got := make([]byte, len(want))
		if _, err := n.ReadAt(got, off); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("read of %d at %d gave something else (%v)", len(got), off, err)
		}
	}
	for range 200 {
		off := random.Int64N(n.Size())
		length := 1 + random.Int64N(min(n.Size()-off, 100000))
		part := model[off : off+length]
		var err error
		switch random.IntN(kinds) {
		case 0:
			check(off, part)
		case 1:
			for i := range part {
				part[i] = byte(random.Uint32())
			}
			_, err = n.WriteAt(part, off)
		case 2:
			clear(part)
			err = n.WriteZeroes(off, length, blockdev.ZeroFlags(random.IntN(2)))
		case 3:
			err = n.Flush()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	check(0, model)
	for off := int64(0); off < n.Size(); {
		e, err := n.Map(off, n.Size()-off)
		if err != nil {
			t.Fatal(err)
		}
		if part := model[off : off+e.Len]; e.Kind == blockdev.ExtentZero && !blockdev.IsZero(part) {
			t.Errorf("%d bytes at %d are not the zeroes that Map says", e.Len, off)
		}
		off += e.Len
	}
}

func TestServersOfOthers(t *testing.T) {
	dir := peer.SocketDir(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, bytes.Repeat([]byte("nbd!"), 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := filepath.Join(dir, "s")
	for name, tt := range map[string]struct {
		argv   []string
		export string
		mode   protocol.ReplyMode
	}{
		"qemu-nbd":       {[]string{"qemu-nbd", "-t", "-e", "8", "-k", s, "-f", "raw", "-x", "name", "--discard=unmap", file}, "name", protocol.StructuredReplies},
		"memory":         {kit(s, "memory", "4M"), "", protocol.StructuredReplies},
		"file":           {kit(s, "file", file), "", protocol.StructuredReplies},
		"nothing fancy":  {kit(s, "--no-sr", "memory", "4M"), "", protocol.SimpleReplies},
		"oldstyle":       {kit(s, "-o", "memory", "4M"), "", protocol.SimpleReplies},
		"copy-on-write":  {kit(s, "--filter=cow", "sparse-random", "8M"), "", protocol.StructuredReplies},
		"no zeroes":      {kit(s, "--filter=nozero", "memory", "4M"), "", protocol.StructuredReplies},
		"blocks of 4096": {kit(s, "--filter=blocksize-policy", "memory", "4M", "blocksize-minimum=4096", "blocksize-preferred=64K", "blocksize-maximum=1M", "blocksize-error-policy=error"), "", protocol.StructuredReplies},
		"delays":         {kit(s, "--filter=delay", "memory", "4M", "rdelay=1ms", "wdelay=1ms"), "", protocol.StructuredReplies},
	} {
		t.Run(name, func(t *testing.T) {
			peer.Start(t, s, tt.argv...)
			o := unix(s, tt.export)
			o["connections"] = "3"
			n := open(t, o)
			if got := n.Client().Replies(); got != tt.mode {
				t.Errorf("replies are %v, not %v", got, tt.mode)
			}
			if name == "oldstyle" { // nbdkit announces flushes, and refuses them
				exerciseWith(t, n, readsAndWrites)
				return
			}
			exercise(t, n)
		})
	}
}

// TestNBDServer: the project's own server, which goes to the background by itself.
func TestNBDServer(t *testing.T) {
	peer.Need(t, "nbd-server")
	dir := peer.SocketDir(t)
	file, socket, config, pid := filepath.Join(dir, "file"), filepath.Join(dir, "s"), filepath.Join(dir, "config"), filepath.Join(dir, "pid")
	text := "[generic]\nunixsock=" + socket + "\nlistenaddr=127.0.0.1\nport=" + freePort(t) +
		"\nallowlist=true\n[name]\nexportname=" + file + "\nflush=true\nfua=true\ntrim=true\n"
	for name, data := range map[string][]byte{file: make([]byte, 1<<20), config: []byte(text)} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	peer.Run(t, "nbd-server", "-C", config, "-p", pid)
	t.Cleanup(func() { killByFile(t, pid) })
	o := unix(socket, "name")
	o["open-timeout"] = "20"
	exercise(t, open(t, o))
	if _, err := tryOpen(t, unix(socket, "other")); !errors.Is(err, blockdev.ErrNotFound) {
		t.Errorf("an export that is not there: %v", err)
	}
}

// freePort is one that nobody listens on at the moment.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// killByFile ends the process whose number is in a file.
func killByFile(t *testing.T, name string) {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	number, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	p, err := os.FindProcess(number)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Kill(); err != nil {
		t.Error(err)
	}
}

func TestErrorsOfAServer(t *testing.T) {
	s := filepath.Join(peer.SocketDir(t), "s")
	peer.Start(t, s, kit(s, "--filter=error", "memory", "1M", "error-pwrite=ENOSPC", "error-pwrite-rate=100%",
		"error-pread=EIO", "error-pread-rate=100%")...)
	n := open(t, unix(s, ""))
	if _, err := n.WriteAt(make([]byte, 512), 0); !errors.Is(err, blockdev.ErrNoSpace) {
		t.Errorf("write: %v", err)
	}
	if _, err := n.ReadAt(make([]byte, 512), 0); !errors.Is(err, syscall.EIO) {
		t.Errorf("read: %v", err)
	}
}

func TestReadOnlyExport(t *testing.T) {
	s := filepath.Join(peer.SocketDir(t), "s")
	peer.Start(t, s, kit(s, "-r", "memory", "1M")...)
	n := open(t, unix(s, ""))
	if _, err := n.WriteAt(make([]byte, 512), 0); n.Writable() || !errors.Is(err, blockdev.ErrReadOnly) {
		t.Errorf("write: %v", err)
	}
	_, err := new(blockdev.Graph).Open(t.Context(), "nbd:unix:"+s, blockdev.OpenOptions{Driver: "raw", Mode: blockdev.Mode{Writable: true}})
	if !errors.Is(err, blockdev.ErrReadOnly) || blockdev.Message(err) != "request on write denied without write permission" {
		t.Errorf("open for writing: %v", err)
	}
}

// TestServerIsKilledWhileWriting: the server dies in the middle and comes back within the
// deadline; writers notice nothing, and all they wrote is there.
func TestServerIsKilledWhileWriting(t *testing.T) {
	peer.Need(t, "qemu-nbd")
	dir := peer.SocketDir(t)
	file, socket := filepath.Join(dir, "file"), filepath.Join(dir, "s")
	if err := os.WriteFile(file, make([]byte, 16<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func() func() {
		return peer.Start(t, socket, "qemu-nbd", "-t", "-e", "8", "-k", socket, "-f", "raw", file)
	}
	kill := serve()
	o := unix(socket, "")
	o["reconnect-delay"] = "60"
	n := open(t, o)
	var writers sync.WaitGroup
	var done sync.Map
	for w := range int64(4) {
		writers.Go(func() {
			for i := range int64(256) {
				off := (i*4 + w) * 16384
				if _, err := n.WriteAt(bytes.Repeat([]byte{byte(i + w*31 + 1)}, 16384), off); err != nil {
					t.Error(err)
					return
				}
				done.Store(off, byte(i+w*31+1))
			}
		})
	}
	for range 3 {
		time.Sleep(20 * time.Millisecond)
		kill()
		kill = serve()
	}
	writers.Wait()
	if err := n.Flush(); err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	done.Range(func(off, value any) bool {
		count++
		if part := data[off.(int64):][:16384]; !bytes.Equal(part, bytes.Repeat([]byte{value.(byte)}, 16384)) {
			t.Errorf("the write at %d is lost", off)
		}
		return true
	})
	if count != 1024 {
		t.Errorf("%d writes of 1024 succeeded", count)
	}
	if err := n.Close(); err != nil {
		t.Error(err)
	}
	kill()
	if _, err := tryOpen(t, unix(socket, "")); !errors.Is(err, syscall.ENOENT) && !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("without a server: %v", err)
	}
}

func TestNames(t *testing.T) {
	dir := peer.SocketDir(t)
	s := filepath.Join(dir, "s")
	peer.Start(t, s, "qemu-nbd", "-t", "-e", "8", "-k", s, "-f", "raw", "-x", "a name", "--read-only", writeFile(t, dir))
	for name, shown := range map[string]string{
		"nbd:unix:" + s + ":exportname=a name": "nbd+unix:///a%20name?socket=" + s,
		"nbd+unix:///a%20name?socket=" + s:     "nbd+unix:///a%20name?socket=" + s,
		`json:{"driver":"raw","file":{"driver":"nbd","export":"a name","server":{"type":"unix","path":"` + s + `"}}}`: "nbd+unix:///a%20name?socket=" + s,
		`json:{"driver":"raw","file":{"driver":"nbd","export":"a name","path":"` + s + `"}}`:                          "nbd+unix:///a%20name?socket=" + s,
	} {
		v, err := new(blockdev.Graph).Open(t.Context(), name, blockdev.OpenOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if v.Filename != shown || v.Node.Size() != 1<<20 {
			t.Errorf("%s is shown as %s, %d bytes", name, v.Filename, v.Node.Size())
		}
		if err := v.Unref(); err != nil {
			t.Error(err)
		}
	}
}

func writeFile(t *testing.T, dir string) string {
	t.Helper()
	name := filepath.Join(dir, "disk")
	if err := os.WriteFile(name, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// TestMistakesInQemusWords compares what qemu-img says about names and descriptions.
func TestMistakesInQemusWords(t *testing.T) {
	peer.Need(t, "qemu-img")
	for _, name := range []string{
		"nbd:", "nbd:host", "nbd:host:", "nbd:unix:/nope", "nbd:unix:/nope:exportname=", "nbd+unix:///x", "nbd://x?socket=/a",
		"nbd:///x", "nbd+unix://h/x?socket=/a", "nbd://localhost:1", "nbd:localhost:1", "nbd://[::1]:1/x", "nbd:[::1]:1",
	} {
		theirs, err := exec.Command("qemu-img", "info", name).CombinedOutput()
		if err == nil {
			t.Fatalf("qemu-img opens %s:\n%s", name, theirs)
		}
		want := strings.TrimPrefix(strings.TrimSpace(string(theirs)), "qemu-img: Could not open '"+name+"': ")
		_, err = new(blockdev.Graph).Open(t.Context(), name, blockdev.OpenOptions{})
		if got := blockdev.Message(err); got != want {
			t.Errorf("%s: %q, theirs %q", name, got, want)
		}
	}
}

// TestAnotherContext shows a context in place of base:allocation, as QEMU's own tests use it.
func TestAnotherContext(t *testing.T) {
	dir := peer.SocketDir(t)
	s := filepath.Join(dir, "s")
	peer.Start(t, s, "qemu-nbd", "-t", "-e", "8", "-k", s, "-f", "raw", "-A", writeFile(t, dir))
	o := unix(s, "")
	o["x-dirty-bitmap"] = protocol.ContextDepth
	e, err := open(t, o).Map(0, 1<<20)
	if err != nil || e.Kind != blockdev.ExtentUnallocated || !e.Undefined {
		t.Errorf("depth 1 is shown as %+v, %v", e, err)
	}
	o["x-dirty-bitmap"] = "qemu:dirty-bitmap:none"
	if _, err := tryOpen(t, o); !errors.Is(err, blockdev.ErrNotFound) {
		t.Errorf("a context that the server has not: %v", err)
	}
}

func TestListOfAServer(t *testing.T) {
	s := filepath.Join(peer.SocketDir(t), "s")
	peer.Start(t, s, kit(s, "-e", "name", "memory", "1M")...)
	list, err := client.List(context.Background(), client.Config{Dial: nbd.Address{Network: "unix", Path: s}.Dial, Address: s})
	if err != nil || len(list) != 1 || list[0].Info.Size != 1<<20 {
		t.Errorf("%+v, %v", list, err)
	}
}
