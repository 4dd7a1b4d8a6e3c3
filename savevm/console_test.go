package savevm_test

import (
	"bytes"
	"sync"
	"testing"
	"time"

	"github.com/qmon/qmon/serial"
)

// patience is how long a guest may take to answer.
const patience = 60 * time.Second

// transcript collects what a guest prints.
type transcript struct {
	mu    sync.Mutex
	out   bytes.Buffer
	wrote chan struct{} // a token when out has grown
}

func newTranscript() transcript { return transcript{wrote: make(chan struct{}, 1)} }

func (c *transcript) Write(p []byte) (int, error) {
	c.mu.Lock()
	c.out.Write(p)
	c.mu.Unlock()
	signal(c.wrote)
	return len(p), nil
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take returns what was printed up to and including the first of the texts, if one was.
func (c *transcript) take(texts []string) (string, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	end := -1
	for _, text := range texts {
		if i := bytes.Index(c.out.Bytes(), []byte(text)); i >= 0 && (end < 0 || i+len(text) < end) {
			end = i + len(text)
		}
	}
	if end < 0 {
		return c.out.String(), false
	}
	return string(c.out.Next(end)), true
}

// forget drops what was printed so far.
func (c *transcript) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.out.Reset()
}

// await waits until the guest has printed one of the texts, and returns what came up to
// its end.
func (c *transcript) await(t *testing.T, texts ...string) string {
	t.Helper()
	deadline := time.After(patience)
	for {
		seen, ok := c.take(texts)
		if ok {
			return seen
		}
		select {
		case <-c.wrote:
		case <-deadline:
			t.Fatalf("none of %q from the guest, only %q", texts, seen)
		}
	}
}

// console is the host's end of a guest's serial port.
type console struct {
	transcript
	front serial.Frontend
	ready chan struct{} // a token when the guest takes more
}

var _ serial.Chardev = (*console)(nil)

func newConsole() *console {
	return &console{transcript: newTranscript(), ready: make(chan struct{}, 1)}
}

func (c *console) ID() string       { return "serial0" }
func (c *console) Filename() string { return "test" }
func (c *console) Connected() bool  { return c.front != nil }
func (c *console) Terminal() bool   { return false }
func (c *console) Close() error     { return nil }
func (c *console) Ready()           { signal(c.ready) }

func (c *console) Connect(f serial.Frontend) error {
	c.front = f
	return nil
}

// send types text.
func (c *console) send(t *testing.T, text string) {
	t.Helper()
	p := []byte(text)
	for len(p) > 0 {
		n := c.front.Receive(p)
		if p = p[n:]; n > 0 {
			continue
		}
		select {
		case <-c.ready:
		case <-time.After(patience):
			t.Fatalf("the guest does not take %q", p)
		}
	}
}
