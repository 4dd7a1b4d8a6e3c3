package sheepdog

import "sync"

// objectLocks gives each object a lock of its own: writers of an object that is there
// share it, who creates or discards it has it alone. Objects nobody waits for take no
// memory.
type objectLocks struct {
	mu    sync.Mutex
	locks map[uint32]*objectLock
}

type objectLock struct {
	sync.RWMutex
	users int
}

func (o *objectLocks) take(i uint32) *objectLock {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.locks == nil {
		o.locks = map[uint32]*objectLock{}
	}
	l := o.locks[i]
	if l == nil {
		l = &objectLock{}
		o.locks[i] = l
	}
	l.users++
	return l
}

func (o *objectLocks) drop(i uint32) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if l := o.locks[i]; l.users == 1 {
		delete(o.locks, i)
	} else {
		l.users--
	}
}

// shared runs f beside other writers of the object.
func (o *objectLocks) shared(i uint32, f func() error) error {
	l := o.take(i)
	defer o.drop(i)
	l.RLock()
	defer l.RUnlock()
	return f()
}

// alone runs f with no other writer of the object.
func (o *objectLocks) alone(i uint32, f func() error) error {
	l := o.take(i)
	defer o.drop(i)
	l.Lock()
	defer l.Unlock()
	return f()
}
