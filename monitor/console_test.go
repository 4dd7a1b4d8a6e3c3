package monitor_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// wire is a character device whose other end is the test.
type wire struct {
	terminal bool
	columns  int // of the terminal's window, 0 if not known

	mu    sync.Mutex
	front serial.Frontend
	got   bytes.Buffer
	some  *sync.Cond // got grew
	ready chan struct{}
}

func newWire() *wire {
	w := &wire{ready: make(chan struct{}, 1)}
	w.some = sync.NewCond(&w.mu)
	return w
}

var (
	_ serial.Chardev = (*wire)(nil)
	_ serial.Sizer   = (*wire)(nil)
)

func (w *wire) ID() string       { return "wire" }
func (w *wire) Filename() string { return "test" }
func (w *wire) Connected() bool  { return w.front != nil }
func (w *wire) Terminal() bool   { return w.terminal }
func (w *wire) Close() error     { return w.Connect(nil) }
func (w *wire) Size() (int, int) { return w.columns, 24 }

func (w *wire) Ready() {
	select {
	case w.ready <- struct{}{}:
	default:
	}
}

func (w *wire) Connect(f serial.Frontend) error {
	w.mu.Lock()
	w.front = f
	w.mu.Unlock()
	if f != nil {
		f.Event(serial.EventOpened)
	}
	return nil
}

func (w *wire) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.some.Broadcast()
	return w.got.Write(p)
}

// lineEnd is what the key for it sends.
func (w *wire) lineEnd() string {
	if w.terminal {
		return "\r"
	}
	return "\n"
}

// hangUp is the other end going away.
func (w *wire) hangUp() { w.front.Event(serial.EventClosed) }

// enter types text at the console.
func (w *wire) enter(text string) {
	for {
		text = text[w.front.Receive([]byte(text)):]
		if text == "" {
			return
		}
		<-w.ready
	}
}

// until returns what came up to and with mark, lines ended by newlines.
func (w *wire) until(mark string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !strings.Contains(w.got.String(), mark) {
		w.some.Wait()
	}
	text := w.got.String()
	end := strings.Index(text, mark) + len(mark)
	w.got.Next(end)
	return strings.ReplaceAll(text[:end], "\r\n", "\n")
}

// startMachine runs a machine until the end of the test.
func startMachine(t *testing.T, c vm.Config) *vm.Machine {
	t.Helper()
	m := vm.New(c)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		m.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return m
}

const prompt = "(qemu) "

func TestConsole(t *testing.T) {
	mon := monitor.New(monitor.Config{Machine: startMachine(t, vm.Config{Name: "box"})})
	w := newWire()
	if _, err := mon.Attach(w, monitor.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	defer mon.Close()
	if got, want := w.until(prompt), "QEMU 7.2.22 monitor - type 'help' for more information\n(qemu) "; got != want {
		t.Errorf("greeted with %q, want %q", got, want)
	}
	for _, c := range []struct{ in, want string }{
		{"info status", "VM status: paused (prelaunch)\n"},
		{"info name", "box\n"},
		{"nosuch", "unknown command: 'nosuch'\n"},
		{"cont", ""},
		{"info status", "VM status: running\n"},
		{"", ""},
	} {
		w.enter(c.in + "\n")
		if got, want := w.until(prompt), c.in+"\n"+c.want+prompt; got != want {
			t.Errorf("%q gave %q, want %q", c.in, got, want)
		}
	}
	if mon.Failures() != 1 {
		t.Errorf("%d failures counted, want 1", mon.Failures())
	}
}
