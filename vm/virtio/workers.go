package virtio

import "sync"

// maxWorkers bounds the requests of a device that run at once.
const maxWorkers = 16

// workers runs requests on a bounded number of goroutines that live while there is work.
type workers struct {
	block *Block

	mu      sync.Mutex
	idle    sync.Cond // broadcast when active becomes 0
	waiting []*blkRequest
	done    []*blkRequest
	active  int
}

func (w *workers) init(b *Block) {
	w.block = b
	w.idle.L = &w.mu
}

func (w *workers) start(r *blkRequest) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waiting = append(w.waiting, r)
	if w.active < maxWorkers {
		w.active++
		go w.work()
	}
}

func (w *workers) work() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.waiting) > 0 {
		r := w.waiting[0]
		w.waiting = w.waiting[1:]
		w.mu.Unlock()
		r.run(w.block.drive)
		w.mu.Lock()
		w.done = append(w.done, r)
		if len(w.done) == 1 {
			w.block.machine.Post(w.block.deliver)
		}
	}
	if w.active--; w.active == 0 {
		w.idle.Broadcast()
	}
}

func (w *workers) takeDone() []*blkRequest {
	w.mu.Lock()
	defer w.mu.Unlock()
	done := w.done
	w.done = nil
	return done
}

// wait blocks until no request is running.
func (w *workers) wait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.active > 0 {
		w.idle.Wait()
	}
}
