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

// workers runs jobs on a bounded number of goroutines that live while there is work.
type workers struct {
	machine *vm.Machine

	mu      sync.Mutex
	idle    sync.Cond // broadcast when active becomes 0
	waiting []job
	done    []job
	active  int
}

func (w *workers) init(m *vm.Machine) {
	w.machine = m
	w.idle.L = &w.mu
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

// drain waits until no job is running, and delivers.
func (w *workers) drain() {
	w.wait()
	w.deliver()
}

// drop waits until no job is running, and forgets the results.
func (w *workers) drop() {
	w.wait()
	w.takeDone()
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
