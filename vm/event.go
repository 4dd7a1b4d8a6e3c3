package vm

// Event is something that happened to a machine: see the Event constants.
type Event struct {
	Kind   EventKind
	State  RunState // after the event
	Reason string   // "guest-reset", "host-qmp-quit", "guest-shutdown", ...
	// Device and Open belong to EventTrayMoved: the drive's name, and if its tray is open.
	Device string
	Open   bool
}

// EventKind names events as QMP does.
type EventKind string

const (
	EventStop      EventKind = "STOP"
	EventResume    EventKind = "RESUME"
	EventReset     EventKind = "RESET"
	EventShutdown  EventKind = "SHUTDOWN"
	EventPowerdown EventKind = "POWERDOWN"
	EventTrayMoved EventKind = "DEVICE_TRAY_MOVED"
)

// Reasons of events, in QMP's words (ShutdownCause).
const (
	ReasonHostQuit      = "host-qmp-quit"
	ReasonHostReset     = "host-qmp-system-reset"
	ReasonHostSignal    = "host-signal"
	ReasonHostUI        = "host-ui"
	ReasonHostError     = "host-error"
	ReasonGuestShutdown = "guest-shutdown"
	ReasonGuestReset    = "guest-reset"
)

// Subscribe has fn called with every event, on the goroutine that caused it. Any goroutine
// may call it.
func (m *Machine) Subscribe(fn func(Event)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watchers = append(m.watchers, fn)
}

func (m *Machine) emit(kind EventKind, reason string) {
	m.Announce(Event{Kind: kind, Reason: reason})
}

// Announce tells everybody who subscribed of an event, with the state as it is. Any goroutine
// may call it.
func (m *Machine) Announce(e Event) {
	m.mu.Lock()
	e.State = m.state
	watchers := m.watchers[:len(m.watchers):len(m.watchers)]
	m.mu.Unlock()
	for _, w := range watchers {
		w(e)
	}
}
