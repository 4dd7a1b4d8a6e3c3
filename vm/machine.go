package vm

import (
	"errors"
	"sync"

	"github.com/qmon/qmon/blockdev"
)

// Config describes a machine to be made.
type Config struct {
	Type  string // as the stream calls it: "virt"
	Name  string // the user's name for it, may be empty
	UUID  string // as the user gave it, may be empty
	Clock *Clock // nil: NewHostClock
	// NoReboot and NoShutdown: a reset shuts down; a shutdown by the guest only stops.
	NoReboot, NoShutdown bool
}

// Machine is a computer. Make it with New, add memory, processors and devices, then call
// Run on a goroutine of its own; it starts in StatePrelaunch. Methods say which goroutine
// may call them; those that say nothing are for the time before Run and for the machine's
// goroutine.
type Machine struct {
	config  Config
	clock   *Clock
	memory  Memory
	drives  blockdev.Drives
	log     Log
	cpus    []CPU
	devices []Device
	resets  []func()
	states  []State
	foreign map[string]bool // sections that loading skips

	requests requests
	done     chan struct{} // closed at the end of Run

	mu       sync.Mutex
	state    RunState
	watchers []func(Event)
	quit     *QuitError
}

// ErrEnded is returned by Do when the machine's Run is over.
var ErrEnded = errors.New("the machine has ended")

// New makes an empty machine.
func New(c Config) *Machine {
	if c.Clock == nil {
		c.Clock = NewHostClock()
	}
	m := &Machine{
		config: c,
		clock:  c.Clock,
		state:  StatePrelaunch,
		states: []State{clockState{c.Clock}},
		done:   make(chan struct{}),
	}
	m.requests.init()
	return m
}

// Config is what the machine was made from. Any goroutine may call it.
func (m *Machine) Config() Config { return m.config }

// Clock is the machine's virtual clock.
func (m *Machine) Clock() *Clock { return m.clock }

// Memory is the machine's physical address space.
func (m *Machine) Memory() *Memory { return &m.memory }

// Drives are the machine's disks. Any goroutine may use them.
func (m *Machine) Drives() *blockdev.Drives { return &m.drives }

// Log is the machine's log. Any goroutine may use it.
func (m *Machine) Log() *Log { return &m.log }

// CPUs are the processors in the order they were added.
func (m *Machine) CPUs() []CPU { return m.cpus }

// Devices are the devices in the order they were added. info qtree shows the reverse.
func (m *Machine) Devices() []Device { return m.devices }

// AddCPU adds a processor; before Run.
func (m *Machine) AddCPU(c CPU) {
	m.cpus = append(m.cpus, c)
	m.states = append(m.states, c.States()...)
}

// AddDevice adds a device; before Run.
func (m *Machine) AddDevice(d Device) {
	m.devices = append(m.devices, d)
	m.states = append(m.states, d.States()...)
}

// States lists the sections of the machine in stream order: the clock first, then
// processors and devices as they were added. RAM is not among them.
func (m *Machine) States() []State { return m.states }

// OnReset has fn called on every reset after the devices': loading firmware into RAM.
func (m *Machine) OnReset(fn func()) { m.resets = append(m.resets, fn) }

// Drain waits for the requests that devices have running beside the processors, and
// delivers their results. On the machine's goroutine. With the machine stopped nothing
// in memory, devices or disks changes after it.
func (m *Machine) Drain() {
	for _, d := range m.devices {
		if d, ok := d.(Drainer); ok {
			d.Drain()
		}
	}
}
