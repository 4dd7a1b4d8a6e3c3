package blockdev

import (
	"slices"
	"sync"
)

// Drives is an ordered set of drives with unique names: the drives of a machine.
// The zero value is ready.
type Drives struct{ drivesState }

type drivesState struct {
	mu    sync.Mutex
	all   []*Drive
	graph *Graph // opens media again, with gate
	gate  Gate
}

// Add puts d at the end. ErrExists if the name is taken.
func (s *Drives) Add(d *Drive) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.index(d.Name()) >= 0 {
		return Errorf(ErrExists, "", d.Name(), "Duplicate ID '%s' for drive", d.Name())
	}
	s.all = append(s.all, d)
	return nil
}

// Remove takes a drive out of the set; its medium stays in it.
func (s *Drives) Remove(name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(name)
	if i < 0 {
		return Errorf(ErrNotFound, "", name, "Device '%s' not found", name)
	}
	s.all = slices.Delete(s.all, i, i+1)
	return nil
}

// Get finds a drive by name.
func (s *Drives) Get(name string) (*Drive, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := s.index(name)
	if i < 0 {
		return nil, false
	}
	return s.all[i], true
}

// All lists the drives in the order they were added.
func (s *Drives) All() []*Drive {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all)
}

func (s *Drives) index(name string) int {
	return slices.IndexFunc(s.all, func(d *Drive) bool { return d.Name() == name })
}

// Close takes out and closes all media. It goes on after an error and returns the first.
func (s *Drives) Close() error {
	var errs []error
	for _, d := range s.All() {
		v, err := d.Remove()
		errs = append(errs, err)
		if v != nil {
			errs = append(errs, v.Unref())
		}
	}
	return firstError(errs)
}
