package main

import (
	"sync"

	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// The console's registers: a received byte plus one (0: none), and a byte to send.
const (
	consoleReceive = 0
	consoleSend    = 4
)

// consoleRoom is how many bytes wait for the program at most.
const consoleRoom = 16

type consoleState struct {
	Count   uint32   `vmstate:"count"`
	Waiting []uint32 `vmstate:"waiting"` // consoleRoom of them
}

// console is a device with two registers between the program and a character device.
type console struct {
	machine *vm.Machine
	line    serial.Chardev
	irq     vm.IRQ

	mu      sync.Mutex
	waiting []byte // received, not yet read: the line's goroutine adds, the machine's takes
}

var (
	_ vm.Device       = (*console)(nil)
	_ vm.MMIO         = (*console)(nil)
	_ vm.State        = (*console)(nil)
	_ serial.Frontend = (*console)(nil)
)

func (c *console) Name() string       { return "console" }
func (c *console) States() []vm.State { return []vm.State{c} }

func (c *console) Reset() {
	c.mu.Lock()
	c.waiting = nil
	c.mu.Unlock()
	c.line.Ready()
}

// Receive takes bytes that somebody typed.
func (c *console) Receive(p []byte) int {
	c.mu.Lock()
	n := min(len(p), consoleRoom-len(c.waiting))
	c.waiting = append(c.waiting, p[:n]...)
	c.mu.Unlock()
	c.machine.Post(func() { c.irq(true) })
	return n
}

// Event has nothing to tell a console without a modem.
func (c *console) Event(serial.Event) {}

// ReadMMIO gives the program the next byte.
func (c *console) ReadMMIO(off uint64, _ int) (uint64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if off != consoleReceive || len(c.waiting) == 0 {
		return 0, nil
	}
	b := c.waiting[0]
	c.waiting = c.waiting[1:]
	c.line.Ready()
	return uint64(b) + 1, nil
}

// WriteMMIO sends a byte.
func (c *console) WriteMMIO(off uint64, _ int, v uint64) error {
	if off == consoleSend {
		// Nobody at the other end is no error for the program.
		_, _ = c.line.Write([]byte{byte(v)})
	}
	return nil
}

func (c *console) Section() vm.Section {
	return vm.Section{Name: "toyconsole", Version: 1, MinVersion: 1}
}
func (c *console) New() any { return &consoleState{Waiting: make([]uint32, consoleRoom)} }

func (c *console) Save() (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := &consoleState{Count: uint32(len(c.waiting)), Waiting: make([]uint32, consoleRoom)}
	for i, b := range c.waiting {
		s.Waiting[i] = uint32(b)
	}
	return s, nil
}

func (c *console) Check(state any, _ uint32) error {
	if s := state.(*consoleState); s.Count > consoleRoom {
		return errTooMany
	}
	return nil
}

func (c *console) Load(state any, _ uint32) error {
	s := state.(*consoleState)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.waiting = nil
	for _, b := range s.Waiting[:s.Count] {
		c.waiting = append(c.waiting, byte(b))
	}
	return nil
}
