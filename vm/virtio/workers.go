package virtio

import (
	"sync"

	"github.com/qmon/qmon/vm"
)

// maxWorkers bounds the requests of a device that run at once.
const maxWorkers = 16

// job is a request that needs the drive.
type job interface {
	// run does the work, on a goroutine of its own.
	run()
	// finish gives the guest the result, on the machine's goroutine.
	finish()
}

// workers serves a device's queues: what needs the drive runs on a bounded number of
// goroutines that live while there is work.
type workers struct {
	machine *vm.Machine
	held    []heldRequest // on the machine's goroutine

	mu      sync.Mutex
	idle    sync.Cond // broadcast when active becomes 0
	waiting []job
	done    []job
	active  int
}

// heldRequest is one that failed and stopped the machine.
type heldRequest struct {
	queue *Queue
	chain *Chain
}

func (w *workers) init(m *vm.Machine) {
	w.machine = m
	w.idle.L = &w.mu
}

// serve calls f with the requests that wait in a queue. A guest can lay its rings over each
// other so that there is always one more; then the machine gets a chance to do something
// else in between.
func (w *workers) serve(q *Queue, f func(*Queue, *Chain)) {
	for range q.size {
		c := q.Pop()
		if c == nil {
			break
		}
		f(q, c)
	}
	if q.Wait() {
		w.machine.Post(func() { w.serve(q, f) })
	}
}

// retryOnResume has the function look at its queues again whenever the machine goes on:
// requests that stopped it are there, and on a machine just loaded those that nobody has
// looked at.
func (w *workers) retryOnResume(s *Slot, f Function) {
	w.machine.Subscribe(func(e vm.Event) {
		if e.Kind != vm.EventResume {
			return
		}
		for _, q := range s.queues {
			f.Notify(q)
		}
	})
}

// hold keeps a request that failed, and stops the machine. The run state tells why it
// stands; QEMU says no more either.
func (w *workers) hold(q *Queue, c *Chain) {
	w.held = append(w.held, heldRequest{q, c})
	w.machine.Post(func() { w.machine.Stop(vm.StateIOError) })
}

// start runs a job beside the processors; on a machine whose runs are to be the same every
// time, at once.
func (w *workers) start(j job) {
	if w.machine.Clock().Reproducible() {
		j.run()
		j.finish()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, j)
	if w.active < maxWorkers {
		w.active++
		go w.work()
	}
}

func (w *workers) work() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) > 0 {
		j := w.waiting[0]
		w.waiting = w.waiting[1:]
		w.mu.Unlock()
		j.run()
		w.mu.Lock()
		w.done = append(w.done, j)
		if len(w.done) == 1 {
			w.machine.Post(w.deliver)
		}
	}
	if w.active--; w.active == 0 {
		w.idle.Broadcast()
	}
}

// deliver gives the guest the results of jobs that are complete.
func (w *workers) deliver() {
	for _, j := range w.takeDone() {
		j.finish()
	}
}

// drain waits until no job is running, and delivers. Requests that stopped the machine go
// back into the queue: so the whole state is in the rings, and a snapshot of it can be
// loaded anywhere.
func (w *workers) drain() {
	w.wait()
	w.deliver()
	for _, r := range w.held {
		r.queue.Unpop(r.chain)
	}
	w.held = nil
}

// drop waits until no job is running, as their buffers are the guest's memory, and forgets
// all requests.
func (w *workers) drop() {
	w.wait()
	w.takeDone()
	w.held = nil
}

func (w *workers) takeDone() []job {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := w.done
	w.done = nil
	return done
}

func (w *workers) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.active > 0 {
		w.idle.Wait()
	}
}
