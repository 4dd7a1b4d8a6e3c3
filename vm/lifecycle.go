package vm

import "errors"

// QuitError is what Run returns when the machine ended in an orderly way.
type QuitError struct {
	Code   int    // exit status asked for by guest or monitor
	Reason string // as in Event
}

func (e *QuitError) Error() string { return "machine ended: " + e.Reason }

// ErrNeedsReset is returned by Start when only a reset can bring the machine to life.
var ErrNeedsReset = errors.New("Resetting the Virtual Machine is required")

// State is the run state. Any goroutine may call it; only the machine's goroutine changes
// it.
func (m *Machine) State() RunState {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// Running tells if instructions are being executed. Any goroutine may call it.
func (m *Machine) Running() bool { return m.State() == StateRunning }

func (m *Machine) setState(s RunState) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.state = s
}

// Start lets the processors run. On the machine's goroutine. A machine that runs goes on;
// one that was powered off or broke down needs a reset first.
func (m *Machine) Start() error {
	switch m.State() {
	case StateRunning:
		return nil
	case StateShutdown, StateInternalError:
		return ErrNeedsReset
	}
	m.setState(StateRunning)
	m.clock.setRunning(true)
	m.emit(EventResume, "")
	return nil
}

// Stop stops the processors and waits for the devices' requests; state is what to call it
// (StatePaused). A machine that does not run stays in the state it is in. On the machine's
// goroutine.
func (m *Machine) Stop(state RunState) {
	if !m.Running() {
		return
	}
	m.setState(state)
	m.clock.setRunning(false)
	m.Drain()
	m.emit(EventStop, "")
}

// Reset puts every device and processor into its power-on state, and has firmware loaded
// again. The run state stays: loadvm uses it. With no reason there is no event. On the
// machine's goroutine.
func (m *Machine) Reset(reason string) {
	m.Drain()
	m.logReset()
	for _, d := range m.devices {
		d.Reset()
	}
	for _, fn := range m.resets {
		fn()
	}
	for _, c := range m.cpus {
		c.Reset()
	}
	if reason != "" {
		m.emit(EventReset, reason)
	}
}

// logReset shows the registers that a reset is about to clear.
func (m *Machine) logReset() {
	if !m.log.Enabled(LogReset) {
		return
	}
	for i, c := range m.cpus {
		if d, ok := c.(RegisterDumper); ok {
			m.log.Printf(LogReset, "CPU Reset (CPU %d)\n%s", i, d.DumpRegisters())
		}
	}
}

// SystemReset is the reset button: a machine that runs starts over, one that does not is
// as if never run, and with NoReboot it shuts down. On the machine's goroutine.
func (m *Machine) SystemReset(reason string) {
	if m.config.NoReboot {
		m.Shutdown(reason)
		return
	}
	m.Reset(reason)
	if !m.Running() {
		m.setState(StatePrelaunch)
	}
}

// RequestReset is SystemReset for any goroutine, and for a device that a processor has
// just told to: it happens between two instructions, soon.
func (m *Machine) RequestReset(reason string) { m.Post(func() { m.SystemReset(reason) }) }

// Shutdown powers the machine off: Run ends, or with NoShutdown the machine stops. On the
// machine's goroutine.
func (m *Machine) Shutdown(reason string) {
	if !m.config.NoShutdown {
		m.Quit(0, reason)
		return
	}
	m.emit(EventShutdown, reason)
	m.Stop(StateShutdown)
}

// RequestShutdown is Shutdown for any goroutine, and for devices: between two
// instructions, soon.
func (m *Machine) RequestShutdown(reason string) { m.Post(func() { m.Shutdown(reason) }) }

// RequestPowerdown asks the guest to power off (an ACPI button): an event for devices
// and consoles that subscribe. Any goroutine may call it.
func (m *Machine) RequestPowerdown() { m.emit(EventPowerdown, "") }

// Quit ends Run with the exit status. Any goroutine may call it, more than once: the first
// call counts.
func (m *Machine) Quit(code int, reason string) {
	m.mu.Lock()
	first := m.quit == nil
	if first {
		m.quit = &QuitError{Code: code, Reason: reason}
	}
	m.mu.Unlock()
	if first {
		m.emit(EventShutdown, reason)
		m.requests.signal()
		m.kick()
	}
}

func (m *Machine) quitting() *QuitError {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.quit
}
