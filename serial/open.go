package serial

import (
	"fmt"
	"io"
	"sync"
)

// Open makes the device that a Config describes; KindRef, KindMux and KindNone name or
// need others and are a Set's business. With Config.Mux it is a *Mux.
func Open(c Config) (Chardev, error) {
	if c.Mux {
		base := c
		base.Mux, base.ID = false, c.ID+"-base"
		d, err := Open(base)
		if err != nil {
			return nil, err
		}
		return asChardev(NewMux(c.ID, d, c.Hooks))
	}
	var log io.WriteCloser
	if c.LogFile != "" {
		f, err := createOutput(c.LogFile, c.LogAppend)
		if err != nil {
			return nil, fmt.Errorf("Could not create '%s': %s", c.LogFile, sysMessage(err))
		}
		log = f
	}
	d, err := open(c, log)
	if err != nil && log != nil {
		log.Close()
	}
	return d, err
}

// device is what every backend is made of.
type device interface {
	Chardev
	setLog(io.WriteCloser)
}

func open(c Config, log io.WriteCloser) (Chardev, error) {
	d, err := openBackend(c)
	if err != nil {
		return nil, err
	}
	d.setLog(log)
	return d, nil
}

func openBackend(c Config) (device, error) {
	switch c.Kind {
	case KindNull, KindVC:
		return asDevice(openNull(c))
	case KindStdio:
		return asDevice(openStdio(c))
	case KindFile:
		return asDevice(openFile(c))
	case KindPipe:
		return asDevice(openPipe(c))
	case KindPTY:
		return asDevice(openPTY(c))
	case KindSocket:
		return asDevice(openSocket(c))
	case KindRingBuf:
		return asDevice(openRingBuf(c))
	}
	return nil, fmt.Errorf("'%s' is not a valid char driver name", c.Kind)
}

// asChardev and asDevice keep a pointer without a device from becoming an interface that
// is not nil.
func asChardev(m *Mux, err error) (Chardev, error) {
	if err != nil {
		return nil, err
	}
	return m, nil
}

func asDevice[D device](d D, err error) (device, error) {
	if err != nil {
		return nil, err
	}
	return d, nil
}

// Set holds the character devices of a program by name.
type Set struct {
	mu   sync.Mutex
	list []Chardev
}

// Open makes the device of a Config, or finds the one that it names. KindNone gives nil.
func (s *Set) Open(c Config) (Chardev, error) {
	switch c.Kind {
	case KindNone:
		return nil, nil
	case KindRef:
		d := s.Find(c.Chardev)
		if d == nil {
			return nil, &NotFoundError{ID: c.Chardev}
		}
		return d, nil
	}
	if s.Find(c.ID) != nil {
		return nil, fmt.Errorf("Duplicate ID '%s' for chardev", c.ID)
	}
	d, err := s.open(c)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, d)
	return d, nil
}

// open makes a new device.
func (s *Set) open(c Config) (Chardev, error) {
	if c.Kind != KindMux {
		return Open(c)
	}
	base := s.Find(c.Chardev)
	if base == nil {
		return nil, fmt.Errorf("mux: base chardev %s not found", c.Chardev)
	}
	return asChardev(NewMux(c.ID, base, c.Hooks))
}

// NotFoundError says that there is no device of that name.
type NotFoundError struct{ ID string }

func (e *NotFoundError) Error() string { return `chardev "` + e.ID + `" not found` }

// Find returns the device of that name, or nil.
func (s *Set) Find(id string) Chardev {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, d := range s.list {
		if d.ID() == id {
			return d
		}
	}
	return nil
}

// All lists the devices as info chardev does, in the order of their making: what lies
// under a multiplexer comes after it.
func (s *Set) All() []Chardev {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Chardev
	for _, d := range s.list {
		all = append(all, d)
		if m, ok := d.(*Mux); ok && m.owns {
			all = append(all, m.base)
		}
	}
	return all
}

// Close ends all devices, the newest first.
func (s *Set) Close() error {
	s.mu.Lock()
	list := s.list
	s.list = nil
	s.mu.Unlock()
	var err error
	for i := len(list) - 1; i >= 0; i-- {
		if e := list[i].Close(); err == nil {
			err = e
		}
	}
	return err
}

// Attach returns the device that one more front end connects to: d itself, or, of a
// multiplexer, a new port.
func Attach(d Chardev) (Chardev, error) {
	if m, ok := d.(*Mux); ok {
		return m.Port()
	}
	if d.Connected() {
		return nil, &InUseError{ID: d.ID()}
	}
	return d, nil
}
