package monitor

import (
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/qmon/qmon/serial"
)

const (
	// inputRoom is how many typed-ahead bytes an editor takes before its device has to
	// keep them: enough for a pasted page.
	inputRoom = 4096
	// pendingRoom bounds the output kept while the multiplexer's focus is elsewhere. The
	// oldest goes first: what counts at the return is how things ended.
	pendingRoom = 64 << 10
	// maxLine is the longest command line in bytes, as in QEMU's editor.
	maxLine = 4095
)

// console is the front end that both editors share: bytes typed ahead, the state of the
// line, and output with QEMU's line ends.
type console struct {
	dev    serial.Chardev
	banner string

	mu     sync.Mutex // guards the input side
	more   *sync.Cond // in grew, or ended or closed changed
	in     []byte     // at most inputRoom
	full   bool       // the device has more than there was room for
	idle   bool       // Read waits
	ended  bool       // the far end is gone, until it comes again
	closed bool

	out     sync.Mutex // guards the output side; may be held when mu is taken
	open    bool       // somebody is there
	focus   bool       // and the multiplexer shows us
	greeted bool       // the banner was shown
	pending []byte     // to be shown when the focus comes
}

func newConsole(dev serial.Chardev, banner string) *console {
	c := &console{dev: dev, banner: banner, focus: true}
	c.more = sync.NewCond(&c.mu)
	return c
}

// receive takes typed bytes as serial.Frontend.Receive does. NUL means nothing and is lost.
func (c *console) receive(p []byte) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for n < len(p) && len(c.in) < inputRoom {
		if p[n] != resetMark {
			c.in = append(c.in, p[n])
		}
		n++
	}
	c.full = n < len(p)
	c.more.Broadcast()
	return n
}

// inject puts a mark into the input, behind what has been typed.
func (c *console) inject(mark byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.in = append(c.in, mark)
	c.more.Broadcast()
}

// Read hands out what was typed. It is what the editors read from.
func (c *console) Read(p []byte) (int, error) {
	c.mu.Lock()
	for len(c.in) == 0 && !c.ended && !c.closed {
		c.idle = true
		c.more.Broadcast()
		c.more.Wait()
	}
	c.idle = false
	if c.closed || len(c.in) == 0 {
		c.ended = false // told once
		c.mu.Unlock()
		return 0, io.EOF
	}
	full := c.full
	c.full = false
	n := copy(p, c.in)
	c.in = append(c.in[:0], c.in[n:]...)
	c.mu.Unlock()
	if full {
		c.dev.Ready()
	}
	return n, nil
}

// settle waits until all input is used, as serial.Settler.Settle does, and tells if it is.
func (c *console) settle(limit time.Duration) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	late := false
	timer := time.AfterFunc(limit, func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		late = true
		c.more.Broadcast()
	})
	defer timer.Stop()
	for !late && !c.closed && (!c.idle || len(c.in) > 0) {
		c.more.Wait()
	}
	return !late && !c.closed
}

// setEnded notes that the far end went away or came back.
func (c *console) setEnded(ended bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = ended
	c.more.Broadcast()
}

// end ends Read for good.
func (c *console) end() (first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = !c.closed
	c.closed = true
	c.more.Broadcast()
	return first
}

// shut detaches from the device and ends Read for good.
func (c *console) shut() error {
	if !c.end() {
		return nil
	}
	return c.dev.Connect(nil)
}

// isShut tells if shut was called.
func (c *console) isShut() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// visible tells if what is sent now is seen by somebody. With out held.
func (c *console) visible() bool { return c.open && c.focus }

// greet shows the banner to whoever came, once. With out held.
func (c *console) greet() {
	if !c.visible() || c.greeted {
		return
	}
	c.greeted = true
	if c.banner != "" {
		c.send([]byte(c.banner + "\n"))
	}
}

// send shows text, or keeps it until it can be seen. With out held. An error is the
// device's, which tells by an event when its peer goes away.
func (c *console) send(text []byte) {
	if !c.open {
		return
	}
	text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	if c.focus {
		_, _ = c.dev.Write(text)
		return
	}
	c.pending = append(c.pending, text...)
	if over := len(c.pending) - pendingRoom; over > 0 {
		c.pending = append(c.pending[:0], c.pending[over:]...)
	}
}

// enter takes the focus and shows what was kept. With out held.
func (c *console) enter() {
	c.focus = true
	c.greet()
	if c.open && len(c.pending) > 0 {
		_, _ = c.dev.Write(c.pending)
	}
	c.pending = nil
}

// leave gives up the focus, on a line of its own. With out held.
func (c *console) leave() {
	if c.focus && c.open && c.greeted {
		c.send([]byte("\n"))
	}
	c.focus = false
}

// peerCame notes that somebody connected. When they leave, nothing changes here: the
// device drops what nobody gets, and a program that ended its input still reads the
// output. With out held.
func (c *console) peerCame() {
	c.open, c.greeted = true, false
	c.pending = nil
	c.greet()
}
