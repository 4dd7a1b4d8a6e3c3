package vm

import "sync"

// requests is the queue of work for the machine's goroutine. It has no bound, so that the
// machine's own goroutine can add to it; what fills it is bounded elsewhere (requests of a
// disk, room in a serial port, commands of a person).
type requests struct {
	wake chan struct{} // holds one token when there may be work

	mu    sync.Mutex
	queue []func()
	ended bool
}

func (q *requests) init() { q.wake = make(chan struct{}, 1) }

// add appends work and tells if somebody will do it.
func (q *requests) add(fn func()) bool {
	q.mu.Lock()
	if q.ended {
		q.mu.Unlock()
		return false
	}
	q.queue = append(q.queue, fn)
	q.mu.Unlock()
	q.signal()
	return true
}

// signal wakes the machine's goroutine if it sleeps.
func (q *requests) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

// take returns all the work there is.
func (q *requests) take() []func() {
	q.mu.Lock()
	defer q.mu.Unlock()
	work := q.queue
	q.queue = nil
	return work
}

// end drops the work there is and all that comes.
func (q *requests) end() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.ended, q.queue = true, nil
}

// Post has fn executed on the machine's goroutine, between two instructions, soon, also
// while the machine is stopped. It never blocks, and any goroutine may call it, the
// machine's own too. Functions are executed in the order they were posted. After the end
// of Run they are dropped.
func (m *Machine) Post(fn func()) {
	if m.requests.add(fn) {
		m.kick()
	}
}

// Do is Post, waiting for fn to have returned; before Run it waits for Run. It must not be
// called on the machine's own goroutine: it would wait for itself.
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
	}
	select {
	case <-finished:
		return nil
	default:
		return ErrEnded
	}
}

// kick makes processors return to the machine's loop.
func (m *Machine) kick() {
	for _, c := range m.cpus {
		c.Kick()
	}
}

// serve executes the requests that wait. Those that they post themselves come next time.
func (m *Machine) serve() {
	for _, fn := range m.requests.take() {
		fn()
	}
}
