package virt

import (
	"sync"
	"time"

	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

const (
	// sendLimit is how many bytes wait for a host that takes them slowly before the guest
	// sees a transmitter that is busy.
	sendLimit = 4096
	// sendPatience is how long a stop waits for a host that does not take what was sent.
	sendPatience = 500 * time.Millisecond
)

// uartHost is the host's side of a UART. The character device calls it on goroutines of
// its own, and may take its time for output; neither must hold up the machine.
type uartHost struct {
	uart    *uart
	machine *vm.Machine
	chardev serial.Chardev // nil: output is dropped

	mu      sync.Mutex
	in      []byte        // taken from the device, not yet in the UART
	room    int           // how many more may be taken
	refused bool          // the device has more
	out     []byte        // for the device
	idle    chan struct{} // closed when out is written; nil while nobody writes
	full    bool          // the guest waits for room in out

	waiting []byte // in, on the machine's goroutine
}

var _ serial.Frontend = (*uartHost)(nil)

// Receive implements serial.Frontend: it takes as many bytes as the FIFO has room for.
func (h *uartHost) Receive(p []byte) int {
	h.mu.Lock()
	n := min(len(p), max(h.room, 0))
	h.in = append(h.in, p[:n]...)
	h.room -= n
	h.refused = n < len(p)
	h.mu.Unlock()
	if n > 0 {
		h.machine.Post(h.pull)
	}
	return n
}

// Event implements serial.Frontend.
func (h *uartHost) Event(e serial.Event) {
	if e == serial.EventBreak {
		h.machine.Post(h.uart.receiveBreak)
	}
}

// pull moves what was taken into the UART.
func (h *uartHost) pull() {
	h.mu.Lock()
	h.waiting = append(h.waiting, h.in...)
	h.in = nil
	h.mu.Unlock()
	h.makeRoom()
}

// makeRoom feeds the UART and tells the device if it has room again. In loopback the line
// is cut off: bytes wait.
func (h *uartHost) makeRoom() {
	u := h.uart
	room := 0
	if !u.loop() {
		for len(h.waiting) > 0 && len(u.fifo) < u.capacity() {
			v := h.waiting[0]
			h.waiting = h.waiting[1:]
			u.receive(v)
		}
		room = u.capacity() - len(u.fifo) - len(h.waiting)
	}
	h.mu.Lock()
	h.room = room - len(h.in)
	ready := h.refused && h.room > 0
	if ready {
		h.refused = false
	}
	h.mu.Unlock()
	if ready && h.chardev != nil {
		h.chardev.Ready()
	}
}

// send queues a byte for the host, and tells if there is room for another.
func (h *uartHost) send(v byte) bool {
	if h.chardev == nil {
		return true
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.out = append(h.out, v)
	if h.idle == nil {
		h.idle = make(chan struct{})
		go h.write(h.idle)
	}
	h.full = len(h.out) >= sendLimit
	return !h.full
}

// write hands queued bytes to the device until there are none.
func (h *uartHost) write(done chan struct{}) {
	defer close(done)
	for {
		h.mu.Lock()
		p, full := h.out, h.full
		h.out, h.full = nil, false
		if len(p) == 0 {
			h.idle = nil
			h.mu.Unlock()
			return
		}
		h.mu.Unlock()
		if full {
			h.machine.Post(h.uart.sent)
		}
		// A host's end that fails has lost the bytes, as a line with nobody on it does.
		_, _ = h.chardev.Write(p)
	}
}

// Drain implements vm.Drainer: what the guest has sent is with the host, if the host takes
// it at all.
func (u *uart) Drain() {
	u.host.mu.Lock()
	idle := u.host.idle
	u.host.mu.Unlock()
	if idle == nil {
		return
	}
	patience := time.NewTimer(sendPatience)
	defer patience.Stop()
	select {
	case <-idle:
	case <-patience.C:
	}
}
