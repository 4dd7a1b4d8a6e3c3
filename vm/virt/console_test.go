package virt

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// console is a character device with a test at its other end.
type console struct {
	mu       sync.Mutex
	changed  sync.Cond
	frontend serial.Frontend
	out      []byte // what the guest sent
	seen     int    // how much of it expect has passed
	in       []byte // what the guest has not taken yet
}

var _ serial.Chardev = (*console)(nil)

func newConsole() *console {
	c := &console{}
	c.changed.L = &c.mu
	return c
}

func (c *console) ID() string       { return "serial0" }
func (c *console) Filename() string { return "test" }
func (c *console) Connected() bool  { return c.frontend != nil }
func (c *console) Terminal() bool   { return false }
func (c *console) Close() error     { return nil }

func (c *console) Connect(f serial.Frontend) error {
	c.frontend = f
	return nil
}

func (c *console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out = append(c.out, p...)
	c.changed.Broadcast()
	return len(p), nil
}

func (c *console) Ready() { go c.push() }

// push gives the guest as much input as it takes.
func (c *console) push() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.in) > 0 {
		n := c.frontend.Receive(c.in)
		if n == 0 {
			return
		}
		c.in = c.in[n:]
	}
}

func (c *console) input(s string) {
	c.mu.Lock()
	c.in = append(c.in, s...)
	c.mu.Unlock()
	c.push()
}

// patience is how long a guest may take for what a test waits for.
const patience = 60 * time.Second

// expect waits for the guest to send want and returns what came before it.
func (c *console) expect(t *testing.T, want string) string {
	t.Helper()
	late := time.AfterFunc(patience, c.changed.Broadcast)
	defer late.Stop()
	deadline := time.Now().Add(patience)
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if i := bytes.Index(c.out[c.seen:], []byte(want)); i >= 0 {
			before := string(c.out[c.seen : c.seen+i])
			c.seen += i + len(want)
			return before
		}
		if !time.Now().Before(deadline) {
			t.Fatalf("no %q on the console, but:\n%s", want, c.out)
		}
		c.changed.Wait()
	}
}

// command types a line at a prompt and returns the answer.
func (c *console) command(t *testing.T, line, prompt string) string {
	t.Helper()
	c.input(line + "\r")
	answer := c.expect(t, prompt)
	_, answer, _ = strings.Cut(answer, "\n")
	return strings.ReplaceAll(answer, "\r", "")
}

// start runs a board with a console until the end of the test.
func start(t *testing.T, config Config) (*Board, *console) {
	t.Helper()
	c := newConsole()
	config.Serial = c
	b, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- b.Machine().Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		var quit *vm.QuitError
		if err := <-ended; !errors.Is(err, context.Canceled) && !errors.As(err, &quit) {
			t.Errorf("Run: %v", err)
		}
	})
	do(t, b, func() {
		if err := b.Machine().Start(); err != nil {
			t.Error(err)
		}
	})
	return b, c
}

// do calls fn on the machine's goroutine.
func do(t *testing.T, b *Board, fn func()) {
	t.Helper()
	if err := b.Machine().Do(fn); err != nil {
		t.Fatal(err)
	}
}
