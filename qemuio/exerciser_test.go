package qemuio_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/qemuio"
)

func Example() {
	drive := blockdev.NewDrive(blockdev.DriveConfig{})
	medium, err := new(blockdev.Graph).Add(blocktest.NewMemory(make([]byte, 1<<20)), "", blockdev.Mode{Writable: true})
	if err != nil {
		panic(err)
	}
	if err := drive.Insert(medium); err != nil {
		panic(err)
	}
	e := qemuio.New(drive, qemuio.Config{Out: os.Stdout})
	for _, line := range []string{"write -q -P 0x41 0 20", "read -q -P 0x41 0 20", "length", "read 1M 512"} {
		if err := e.Run(context.Background(), line); err != nil {
			fmt.Println(line+":", errors.Is(err, blockdev.ErrRange))
		}
	}
	// Output:
	// 1 MiB
	// read failed: Input/output error
	// read 1M 512: true
}

// session is an exerciser with all that it shows in one place.
type session struct {
	*qemuio.Exerciser
	t     *testing.T
	shown bytes.Buffer
}

func exercise(t *testing.T, n blockdev.Node, m blockdev.Mode) *session {
	t.Helper()
	v, err := new(blockdev.Graph).Add(n, "", m)
	if err != nil {
		t.Fatal(err)
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{})
	if err := d.Insert(v); err != nil {
		t.Fatal(err)
	}
	s := &session{t: t}
	s.Exerciser = qemuio.New(d, qemuio.Config{
		Out: &s.shown, Err: &s.shown, Console: &s.shown,
		Report: func(text string) { fmt.Fprintf(&s.shown, "report: %s\n", text) },
	})
	return s
}

var writable = blockdev.Mode{Writable: true, Unmap: true}

// do runs lines and returns what they show.
func (s *session) do(lines ...string) string {
	s.shown.Reset()
	for _, l := range lines {
		_ = s.Run(s.t.Context(), l) // what is wrong is shown
	}
	return s.shown.String()
}

func (s *session) want(want string, lines ...string) {
	s.t.Helper()
	if diff := cmp.Diff(want, s.do(lines...)); diff != "" {
		s.t.Errorf("%q (-want +got):\n%s", lines, diff)
	}
}

func TestFailuresInQEMUsWords(t *testing.T) {
	node := blocktest.NewFaulty(blocktest.NewMemory(make([]byte, 1<<16)))
	s := exercise(t, node, writable)
	for _, c := range []struct {
		line, want string
		op         blocktest.Op
		err        error
	}{
		{"read 0 512", "read failed: Input/output error\n", blocktest.OpRead, syscall.EIO},
		{"readv 0 512", "readv failed: Input/output error\n", blocktest.OpRead, blockdev.ErrCorrupt},
		{"write 0 512", "write failed: No space left on device\n", blocktest.OpWrite, blockdev.ErrNoSpace},
		{"writev 0 512", "writev failed: Operation not permitted\n", blocktest.OpWrite, blockdev.ErrReadOnly},
		{"write -z 0 512", "write failed: Invalid argument\n", blocktest.OpZero, blockdev.ErrInvalid},
		{"discard 0 512", "discard failed: Operation not supported\n", blocktest.OpDiscard, blockdev.ErrNotSupported},
		{"flush", "", blocktest.OpFlush, syscall.EIO},
		{"truncate 1k", "report: No space left on device\n", blocktest.OpResize, syscall.ENOSPC},
		{"map", "report: Failed to get allocation status: Input/output error\n", blocktest.OpMap, syscall.EIO},
		{"alloc 0", "is_allocated failed: Input/output error\n", blocktest.OpMap, syscall.EIO},
	} {
		node.Clear()
		node.Inject(blocktest.Fault{Op: c.op, Err: c.err})
		s.shown.Reset()
		if err := s.Run(t.Context(), c.line); !errors.Is(err, c.err) {
			t.Errorf("%s: %v, not %v", c.line, err, c.err)
		}
		if diff := cmp.Diff(c.want, s.shown.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.line, diff)
		}
	}
}

func TestNoMedium(t *testing.T) {
	var out bytes.Buffer
	e := qemuio.New(blockdev.NewDrive(blockdev.DriveConfig{}), qemuio.Config{
		Out: &out, Err: &out, Report: func(text string) { fmt.Fprintf(&out, "report: %s\n", text) },
	})
	for _, c := range []struct{ line, want string }{
		{"read 0 512", "read failed: No medium found\n"},
		{"read -b 0 512", "read failed: No medium found\n"},
		{"write 0 512", "write failed: No medium found\n"},
		{"write -c 0 512", "write failed: No medium found\n"},
		{"discard 0 512", "discard failed: No medium found\n"},
		{"truncate 1M", "report: No medium inserted\n"},
		{"length", "getlength: No medium found\n"},
		{"map", "report: Failed to query image length: No medium found\n"},
		{"alloc 0", "getlength: No medium found\n"},
		{"break a b", "Could not set breakpoint: Operation not supported\n"},
		{"flush", ""},
		{"info", ""},
	} {
		out.Reset()
		if err := e.Run(t.Context(), c.line); err == nil {
			t.Errorf("%s succeeded", c.line)
		}
		if diff := cmp.Diff(c.want, out.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.line, diff)
		}
	}
}

func TestReadOnly(t *testing.T) {
	s := exercise(t, blocktest.NewMemory(make([]byte, 4096)), blockdev.Mode{})
	for _, line := range []string{"write 0 1", "writev 0 1", "aio_write 0 1", "discard 0 1", "truncate 0"} {
		s.want("report: Block node is read-only\n", line)
	}
	s.want("", "read -q 0 1", "flush", "reopen -w", "write -q 0 1", "reopen -r")
	s.want("report: Block node is read-only\n", "write 0 1")
}

// TestAsyncIsShownByWhoWaits: what comes of a request is shown when a command waits, not
// before.
func TestAsyncIsShownByWhoWaits(t *testing.T) {
	s := exercise(t, blocktest.NewMemory(make([]byte, 1<<20)), writable)
	if got := s.do("aio_write -P 3 0 64k", "length"); got != "1 MiB\n" {
		t.Errorf("%q", got)
	}
	if got := s.do("aio_flush"); !strings.HasPrefix(got, "wrote 65536/65536 bytes at offset 0\n") {
		t.Errorf("%q", got)
	}
	s.want("", "read -q -P 3 0 64k")
	s.want("Pattern verification failed at offset 0, 512 bytes\n", "aio_read -q -P 4 0 512", "aio_flush")
}

func TestManyAtOnce(t *testing.T) {
	s := exercise(t, blocktest.NewMemory(make([]byte, 1<<20)), writable)
	var lines []string
	for i := range 64 {
		lines = append(lines, fmt.Sprintf("aio_write -q -P %d %dk 16k", i, 16*i))
	}
	s.want("", append(lines, "aio_flush")...)
	for i := range 64 {
		s.want("", fmt.Sprintf("aio_read -q -P %d %dk 16k", i, 16*i))
	}
	s.want("", "aio_flush")
}

// breakable is a disk whose writes stop at a breakpoint for "write".
type breakable struct {
	*blocktest.Memory
	mu        sync.Mutex
	tag       string
	suspended chan struct{} // closed when a request stands
	goOn      chan struct{}
}

var _ blockdev.Breaker = (*breakable)(nil)

func (b *breakable) WriteAt(p []byte, off int64) (int, error) {
	b.mu.Lock()
	stop := b.tag != ""
	b.mu.Unlock()
	if stop {
		close(b.suspended)
		<-b.goOn
	}
	return b.Memory.WriteAt(p, off)
}

func (b *breakable) SetBreakpoint(event, tag string) error {
	if event != "write" {
		return blockdev.Errorf(blockdev.ErrNotFound, "break", "", "no such event")
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tag, b.suspended, b.goOn = tag, make(chan struct{}), make(chan struct{})
	return nil
}

func (b *breakable) RemoveBreakpoint(string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tag = ""
	return nil
}

func (b *breakable) Resume(string) error { close(b.goOn); return nil }

func (b *breakable) ResumeAll() {}

func (b *breakable) Announce(func(line string)) {}

func (b *breakable) WaitSuspended(ctx context.Context, _ string) error {
	select {
	case <-b.suspended:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func TestBreakpoints(t *testing.T) {
	s := exercise(t, &breakable{Memory: blocktest.NewMemory(make([]byte, 4096))}, writable)
	s.want("Could not set breakpoint: no such event\n", "break nosuch A")
	s.want("", "break write A", "aio_write -P 5 0 512", "wait_break A", "read -q -P 0 0 512", "remove_break A", "resume A")
	if got := s.do("aio_flush"); !strings.HasPrefix(got, "wrote 512/512 bytes at offset 0\n") {
		t.Errorf("%q", got)
	}
	s.want("", "read -q -P 5 0 512")
}

// TestAddedCommands shows that a program can have commands of its own.
func TestAddedCommands(t *testing.T) {
	s := exercise(t, blocktest.NewMemory(make([]byte, 4096)), writable)
	var got []string
	s.Add(qemuio.Command{
		Name: "mine", Alias: "m", Args: "[-x] word", Help: "is mine", MinArgs: 1, MaxArgs: 2, Options: "x",
		Run: func(_ context.Context, _ *qemuio.Exerciser, c *qemuio.Call) error {
			got = append(got, c.Args...)
			return qemuio.Fail("mine failed", nil)
		},
	})
	s.want("report: mine failed\n", "m -x word")
	if diff := cmp.Diff([]string{"word"}, got); diff != "" {
		t.Error(diff)
	}
	s.want("mine [-x] word -- is mine\n", "help mine")
	s.want("bad argument count 3 to mine, expected between 1 and 2 arguments\n", "mine 1 2 3")
	s.want("m: invalid option -- 'y'\nmine [-x] word -- is mine\n", "m -y")
}
