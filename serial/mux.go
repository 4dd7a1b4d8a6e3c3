package serial

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

const (
	// maxPorts is how many front ends can share a device, as in QEMU.
	maxPorts = 4
	// muxRoom is how many bytes a port keeps for a front end that has no room, so that
	// the multiplexer's own keys get through although the guest takes nothing.
	muxRoom = 32
	// settleTime is how long a key of the multiplexer's waits for the front end to finish
	// what was typed before it. A command that takes longer is overtaken.
	settleTime = 2 * time.Second
)

// Mux lets several front ends share one device. All write to it; what comes from it goes
// to the one that has the focus, except for the multiplexer's own keys, which follow the
// escape key. Nothing is taken in before there are ports and each has had a front end: a
// key that switches to the next one would be lost.
type Mux struct {
	base  Chardev
	owns  bool // base is closed with the multiplexer
	id    string
	hooks MuxHooks
	keys  keyState // only used by the base's goroutine

	mu     sync.Mutex
	ports  []*MuxPort
	focus  *MuxPort // nil until somebody connects
	opened bool     // the base's host end is there

	out    sync.Mutex // guards what follows and the order of the output
	stamps timestamps
}

// MuxPort is a multiplexer's side towards one front end.
type MuxPort struct {
	mux *Mux

	calls   sync.Mutex // held while the front end is called
	mu      sync.Mutex // guards the rest
	front   Frontend
	awaited bool   // neither a front end nor Close has come yet
	held    []byte // for a front end without room, at most muxRoom
}

var (
	_ Chardev  = (*Mux)(nil)
	_ Chardev  = (*MuxPort)(nil)
	_ Sizer    = (*MuxPort)(nil)
	_ Frontend = muxInput{}
)

// NewMux puts a multiplexer over a device that has no front end yet. A device that is
// called like the multiplexer with "-base" added is closed with it.
func NewMux(id string, base Chardev, hooks MuxHooks) (*Mux, error) {
	if hooks.Escape == 0 {
		hooks.Escape = DefaultEscape
	}
	m := &Mux{base: base, id: id, hooks: hooks, owns: base.ID() == id+"-base"}
	return m, base.Connect(muxInput{m})
}

// Port makes a place for one more front end.
func (m *Mux) Port() (*MuxPort, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.ports) == maxPorts {
		return nil, fmt.Errorf("chardev '%s' has %d front ends already", m.id, maxPorts)
	}
	p := &MuxPort{mux: m, awaited: true}
	m.ports = append(m.ports, p)
	return p, nil
}

// SetFocus has a port take the focus, as the key c does.
func (m *Mux) SetFocus(p *MuxPort) {
	m.mu.Lock()
	was := m.focus
	m.focus = p
	m.mu.Unlock()
	if was != nil {
		was.event(EventFocusOut)
	}
	p.event(EventFocusIn)
}

// complete tells if there are ports, and none waits for its front end.
func (m *Mux) complete() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.ports) > 0 && !slices.ContainsFunc(m.ports, (*MuxPort).waits)
}

// focused returns the port that has the focus.
func (m *Mux) focused() *MuxPort {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.focus
}

// switchFocus moves the focus to the next port with a front end.
func (m *Mux) switchFocus() {
	m.mu.Lock()
	var ports []*MuxPort
	next := 0
	for _, p := range m.ports {
		if p.Connected() {
			ports = append(ports, p)
		}
		if p == m.focus {
			next = len(ports)
		}
	}
	m.mu.Unlock()
	if len(ports) > 0 {
		m.SetFocus(ports[next%len(ports)])
	}
}

// ID, Filename and the others make the multiplexer itself a device for info chardev and
// for closing; front ends connect to its ports.

// ID implements Chardev.
func (m *Mux) ID() string { return m.id }

// Filename implements Chardev.
func (m *Mux) Filename() string { return "mux" }

// Connect implements Chardev: front ends connect to a port.
func (m *Mux) Connect(Frontend) error {
	return fmt.Errorf("chardev '%s' is a multiplexer: connect to a port of it", m.id)
}

// Connected implements Chardev.
func (m *Mux) Connected() bool { return m.focused() != nil }

// Ready implements Chardev.
func (m *Mux) Ready() { m.base.Ready() }

// Terminal implements Chardev.
func (m *Mux) Terminal() bool { return m.base.Terminal() }

// Write implements Chardev. Lines get timestamps if they are switched on.
func (m *Mux) Write(p []byte) (int, error) {
	m.out.Lock()
	defer m.out.Unlock()
	if _, err := m.base.Write(m.stamps.apply(p, time.Now())); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Close implements Chardev.
func (m *Mux) Close() error {
	m.mu.Lock()
	ports := m.ports
	m.mu.Unlock()
	for _, p := range ports {
		p.detach()
	}
	if !m.owns {
		return m.base.Connect(nil)
	}
	return m.base.Close()
}

// muxInput is the multiplexer as the front end of the device below.
type muxInput struct{ m *Mux }

// Receive implements Frontend.
func (i muxInput) Receive(b []byte) int {
	m := i.m
	if !m.complete() {
		return 0
	}
	for n, c := range b {
		if !m.accept(c) {
			return n
		}
	}
	return len(b)
}

// accept takes one byte, false if there is no room for it.
func (m *Mux) accept(c byte) bool {
	data, action := m.keys.next(c, m.hooks.Escape)
	if !data {
		m.act(action)
		return true
	}
	p := m.focused()
	if p == nil || !p.push(c) {
		m.keys.again(c, m.hooks.Escape)
		return false
	}
	return true
}

// Event implements Frontend: what happens to the line happens to all.
func (i muxInput) Event(e Event) {
	i.m.mu.Lock()
	switch e {
	case EventOpened:
		i.m.opened = true
	case EventClosed:
		i.m.opened = false
	}
	ports := append([]*MuxPort(nil), i.m.ports...)
	i.m.mu.Unlock()
	for _, p := range ports {
		p.event(e)
	}
}

// ID implements Chardev.
func (p *MuxPort) ID() string { return p.mux.id }

// Filename implements Chardev.
func (p *MuxPort) Filename() string { return p.mux.Filename() }

// Connect implements Chardev. The first front end gets the focus.
func (p *MuxPort) Connect(f Frontend) error {
	if f == nil {
		p.detach()
		return nil
	}
	p.calls.Lock()
	defer p.calls.Unlock()
	p.mu.Lock()
	taken := p.front != nil
	if !taken {
		p.front, p.awaited = f, false
	}
	p.mu.Unlock()
	if taken {
		return &InUseError{ID: p.mux.id}
	}
	m := p.mux
	m.mu.Lock()
	if m.focus == nil {
		m.focus = p
	}
	focus, opened := m.focus == p, m.opened
	m.mu.Unlock()
	if !focus {
		f.Event(EventFocusOut)
	}
	if opened {
		f.Event(EventOpened)
	}
	m.base.Ready()
	return nil
}

// detach lets the front end go. Its port stays, without the focus.
func (p *MuxPort) detach() {
	p.mu.Lock()
	p.front, p.awaited, p.held = nil, false, nil
	p.mu.Unlock()
	m := p.mux
	m.mu.Lock()
	had := m.focus == p
	if had {
		m.focus = nil
	}
	m.mu.Unlock()
	if had {
		m.switchFocus()
	}
	m.base.Ready()
}

// waits tells if the port was made for a front end that has not come yet.
func (p *MuxPort) waits() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.awaited
}

// Connected implements Chardev.
func (p *MuxPort) Connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.front != nil
}

// push hands a byte to the front end, or keeps it for later; false if it is full. The byte
// is kept before it is offered: Ready may come while the front end refuses it.
func (p *MuxPort) push(c byte) bool {
	p.calls.Lock()
	defer p.calls.Unlock()
	p.mu.Lock()
	room := p.front != nil && len(p.held) < muxRoom
	if room {
		p.held = append(p.held, c)
	}
	alone := len(p.held) == 1
	p.mu.Unlock()
	if room && alone {
		p.offer()
	}
	return room
}

// offer hands what is kept to the front end. With calls held.
func (p *MuxPort) offer() {
	p.mu.Lock()
	f, held := p.front, p.held
	p.mu.Unlock()
	if f == nil {
		return
	}
	n := f.Receive(held)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = p.held[min(n, len(p.held)):]
}

// Ready implements Chardev. What was kept goes first; it is called by the front end, and
// so hands on from a goroutine of its own.
func (p *MuxPort) Ready() {
	p.mu.Lock()
	empty := len(p.held) == 0
	p.mu.Unlock()
	if empty {
		p.mux.base.Ready()
		return
	}
	go p.drain()
}

// drain hands on what is kept, and asks the device below for more.
func (p *MuxPort) drain() {
	defer RestoreOnPanic()
	p.calls.Lock()
	p.offer()
	p.calls.Unlock()
	p.mux.base.Ready()
}

// settle gives the front end time to finish.
func (p *MuxPort) settle() {
	p.mu.Lock()
	f := p.front
	p.mu.Unlock()
	if s, ok := f.(Settler); ok {
		s.Settle(settleTime)
	}
}

// event tells the front end.
func (p *MuxPort) event(e Event) {
	p.calls.Lock()
	defer p.calls.Unlock()
	p.mu.Lock()
	f := p.front
	p.mu.Unlock()
	if f != nil {
		f.Event(e)
	}
}

// Write implements Chardev.
func (p *MuxPort) Write(b []byte) (int, error) { return p.mux.Write(b) }

// Terminal implements Chardev.
func (p *MuxPort) Terminal() bool { return p.mux.Terminal() }

// Size implements Sizer.
func (p *MuxPort) Size() (columns, rows int) {
	if s, ok := p.mux.base.(Sizer); ok {
		return s.Size()
	}
	return 0, 0
}

// Close implements Chardev: the front end lets go of the multiplexer, which stays.
func (p *MuxPort) Close() error {
	p.detach()
	return nil
}
