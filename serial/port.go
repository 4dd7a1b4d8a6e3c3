package serial

import (
	"io"
	"sync"
)

// chunk is how many bytes a device reads at a time.
const chunk = 4096

// port is the half of every character device that faces the front end.
type port struct {
	id string

	calls sync.Mutex // held while the front end is called: one call at a time

	mu     sync.Mutex // guards the rest
	front  Frontend
	open   bool       // the host's end is there
	rooms  int        // counts what may have made room: Ready, Connect
	change *sync.Cond // rooms or closed changed
	closed bool
	log    io.WriteCloser // copy of the output, or nil
}

func (p *port) init(id string, open bool) {
	p.id, p.open = id, open
	p.change = sync.NewCond(&p.mu)
}

// ID implements Chardev.
func (p *port) ID() string { return p.id }

// Connect implements Chardev.
func (p *port) Connect(f Frontend) error {
	p.calls.Lock()
	defer p.calls.Unlock()
	p.mu.Lock()
	if f != nil && p.front != nil {
		p.mu.Unlock()
		return &InUseError{ID: p.id}
	}
	p.front = f
	open := p.open
	p.rooms++
	p.change.Broadcast()
	p.mu.Unlock()
	if f != nil && open {
		f.Event(EventOpened)
	}
	return nil
}

// Connected implements Chardev.
func (p *port) Connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.front != nil
}

// Ready implements Chardev.
func (p *port) Ready() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rooms++
	p.change.Broadcast()
}

// offer hands bytes to the front end once and returns how many it took.
func (p *port) offer(b []byte) int {
	p.calls.Lock()
	defer p.calls.Unlock()
	p.mu.Lock()
	f := p.front
	p.mu.Unlock()
	if f == nil {
		return 0
	}
	return f.Receive(b)
}

// deliver hands bytes to the front end, waiting for room, and for a front end if there is
// none. It returns false if the device was closed meanwhile.
func (p *port) deliver(b []byte) bool {
	for {
		p.mu.Lock()
		rooms, closed := p.rooms, p.closed
		p.mu.Unlock()
		if closed {
			return false
		}
		if b = b[p.offer(b):]; len(b) == 0 {
			return true
		}
		p.mu.Lock()
		for p.rooms == rooms && !p.closed {
			p.change.Wait()
		}
		p.mu.Unlock()
	}
}

// readLoop hands on what comes from r until it ends. The device stays then: there may
// still be an output.
func (p *port) readLoop(r io.Reader) {
	defer RestoreOnPanic()
	buf := make([]byte, chunk)
	for {
		n, err := r.Read(buf)
		if n > 0 && !p.deliver(buf[:n]) {
			return
		}
		if err != nil {
			if !p.isShut() {
				p.event(EventClosed)
			}
			return
		}
	}
}

// event tells the front end; opened and closed are remembered for later ones.
func (p *port) event(e Event) {
	p.calls.Lock()
	defer p.calls.Unlock()
	p.mu.Lock()
	switch e {
	case EventOpened:
		p.open = true
	case EventClosed:
		p.open = false
	}
	f := p.front
	p.mu.Unlock()
	if f != nil {
		f.Event(e)
	}
}

// shut marks the port closed, and tells if it was open before.
func (p *port) shut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	was := p.closed
	p.closed = true
	p.front = nil
	p.change.Broadcast()
	if p.log != nil && !was {
		p.log.Close()
	}
	return !was
}

// isShut tells if the device was closed.
func (p *port) isShut() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.closed
}

// record copies output to the log file. A full disk does not stop the machine.
func (p *port) record(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.log != nil && !p.closed {
		_, _ = p.log.Write(b)
	}
}

// setLog is called once, before the device is used.
func (p *port) setLog(w io.WriteCloser) { p.log = w }

// InUseError says that a device has a front end already.
type InUseError struct{ ID string }

func (e *InUseError) Error() string { return "Device '" + e.ID + "' is in use" }
