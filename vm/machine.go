package vm

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// sliceBudget is how many instructions a processor executes before the machine looks at
// its timers and requests again: well under a millisecond.
const sliceBudget = 50_000

// Config describes a machine to be made.
type Config struct {
	Type  string // as the stream calls it: "virt"
	Name  string // the user's name for it, may be empty
	UUID  string // as the user gave it, may be empty
	Clock *Clock // nil: NewHostClock
	// NoReboot and NoShutdown: a guest's reset shuts down; a shutdown only stops.
	NoReboot, NoShutdown bool
}

// Machine is a computer. Make it with New, add memory, processors and devices, then call
// Run on a goroutine of its own; it starts in StatePrelaunch.
type Machine struct {
	config  Config
	clock   *Clock
	memory  Memory
	drives  blockdev.Drives
	cpus    []CPU
	devices []Device
	resets  []func()
	states  []State

	requests chan func() // Do and Post
	done     chan struct{}

	mu       sync.Mutex
	state    RunState
	watchers []func(Event)
	quit     *QuitError
}

// Event is something that happened to a machine: see the Event constants.
type Event struct {
	Kind   EventKind
	State  RunState // after the event
	Reason string   // "guest-reset", "host-qmp-quit", "guest-shutdown", ...
}

// EventKind names events as QMP does.
type EventKind string

const (
	EventStop      EventKind = "STOP"
	EventResume    EventKind = "RESUME"
	EventReset     EventKind = "RESET"
	EventShutdown  EventKind = "SHUTDOWN"
	EventPowerdown EventKind = "POWERDOWN"
)

// QuitError is what Run returns when the machine ended in an orderly way.
type QuitError struct {
	Code   int    // exit status asked for by guest or monitor
	Reason string // as in Event
}

func (e *QuitError) Error() string { return "machine ended: " + e.Reason }

// ErrEnded is returned by Do when the machine's Run is over.
var ErrEnded = errors.New("the machine has ended")

// New makes an empty machine.
func New(c Config) *Machine {
	if c.Clock == nil {
		c.Clock = NewHostClock()
	}
	return &Machine{
		config:   c,
		clock:    c.Clock,
		state:    StatePrelaunch,
		requests: make(chan func(), 64),
		done:     make(chan struct{}),
	}
}

func (m *Machine) Config() Config           { return m.config }
func (m *Machine) Clock() *Clock            { return m.clock }
func (m *Machine) Memory() *Memory          { return &m.memory }
func (m *Machine) Drives() *blockdev.Drives { return &m.drives }
func (m *Machine) CPUs() []CPU              { return m.cpus }
func (m *Machine) Devices() []Device        { return m.devices }

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

// AddState adds a section that belongs to no device.
func (m *Machine) AddState(s State) { m.states = append(m.states, s) }

// States lists the sections of the machine in stream order.
func (m *Machine) States() []State { return m.states }

// OnReset has fn called on every reset after the devices': loading firmware into RAM.
func (m *Machine) OnReset(fn func()) { m.resets = append(m.resets, fn) }

// Subscribe has fn called with every event, on the goroutine that caused it.
func (m *Machine) Subscribe(fn func(Event)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers = append(m.watchers, fn)
}

func (m *Machine) emit(kind EventKind, reason string) {
	m.mu.Lock()
	e := Event{Kind: kind, State: m.state, Reason: reason}
	watchers := m.watchers
	m.mu.Unlock()
	for _, w := range watchers {
		w(e)
	}
}

// State is the run state.
func (m *Machine) State() RunState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Running tells if instructions are being executed.
func (m *Machine) Running() bool { return m.State() == StateRunning }

// Post has fn executed on the machine's goroutine, between two instructions, soon. After
// the end of Run it is dropped.
func (m *Machine) Post(fn func()) {
	select {
	case m.requests <- fn:
		for _, c := range m.cpus {
			c.Kick()
		}
	case <-m.done:
	}
}

// Do is Post, waiting for fn to have returned. It must not be called on the machine's own
// goroutine.
func (m *Machine) Do(fn func()) error {
	finished := make(chan struct{})
	m.Post(func() {
		defer close(finished)
		fn()
	})
	select {
	case <-finished:
		return nil
	case <-m.done:
		return ErrEnded
	}
}

// Start lets the processors run. On the machine's goroutine.
func (m *Machine) Start() {
	if !m.setState(StateRunning) {
		return
	}
	m.clock.setRunning(true)
	m.emit(EventResume, "")
}

// Stop stops the processors; state is what to call it (StatePaused). On the machine's
// goroutine.
func (m *Machine) Stop(state RunState) {
	was := m.Running()
	m.setState(state)
	if was {
		m.clock.setRunning(false)
		m.emit(EventStop, "")
	}
}

// setState changes the state and tells if it was another.
func (m *Machine) setState(s RunState) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.state
	m.state = s
	return was != s
}

// Reset puts every device and processor into its power-on state. On the machine's
// goroutine. The run state stays.
func (m *Machine) Reset(reason string) {
	for _, d := range m.devices {
		d.Reset()
	}
	for _, fn := range m.resets {
		fn()
	}
	for _, c := range m.cpus {
		c.Reset()
	}
	m.emit(EventReset, reason)
}

// Quit ends Run with the exit status. Any goroutine may call it.
func (m *Machine) Quit(code int, reason string) {
	m.mu.Lock()
	first := m.quit == nil
	if first {
		m.quit = &QuitError{Code: code, Reason: reason}
	}
	m.mu.Unlock()
	if first {
		m.emit(EventShutdown, reason)
		m.Post(func() {})
	}
}

// RequestPowerdown asks the guest to power off (an ACPI button): an event for devices
// and consoles that subscribe.
func (m *Machine) RequestPowerdown() { m.emit(EventPowerdown, "") }

func (m *Machine) quitting() *QuitError {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.quit
}

// Run is the machine: it executes processors, timers and requests until Quit or until ctx
// is done. It returns a *QuitError, or ctx's error.
func (m *Machine) Run(ctx context.Context) error {
	defer close(m.done)
	for {
		if q := m.quitting(); q != nil {
			m.Stop(StateShutdown)
			return q
		}
		if !m.Running() || m.idle() {
			if err := m.wait(ctx); err != nil {
				return err
			}
			continue
		}
		m.serve()
		m.clock.fire()
		m.slice()
		if ctx.Err() != nil {
			m.Stop(StateShutdown)
			return ctx.Err()
		}
	}
}

// serve executes the requests that wait.
func (m *Machine) serve() {
	for {
		select {
		case fn := <-m.requests:
			fn()
		default:
			return
		}
	}
}

func (m *Machine) idle() bool {
	for _, c := range m.cpus {
		if !c.Halted() {
			return false
		}
	}
	return true
}

// wait sleeps until there is a request, or, if running, a timer is due.
func (m *Machine) wait(ctx context.Context) error {
	var due <-chan time.Time
	if at, ok := m.clock.next(); ok && m.Running() {
		m.clock.skipTo(at)
		t := time.NewTimer(max(at-m.clock.Now(), 0))
		defer t.Stop()
		due = t.C
	}
	select {
	case fn := <-m.requests:
		fn()
		m.serve()
	case <-due:
	case <-ctx.Done():
		m.Stop(StateShutdown)
		return ctx.Err()
	}
	if m.Running() {
		m.clock.fire()
	}
	return nil
}

// slice lets every processor execute some instructions.
func (m *Machine) slice() {
	for _, c := range m.cpus {
		if !m.Running() {
			return
		}
		budget := int64(sliceBudget)
		if at, ok := m.clock.next(); ok && m.clock.CountsInstructions() {
			budget = min(budget, m.clock.budgetUntil(at))
		}
		n, why := c.Run(budget)
		m.clock.advance(n)
		if why == ExitStop {
			m.Stop(StateInternalError)
		}
	}
}
