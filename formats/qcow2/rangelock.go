package qcow2

import "sync"

// rangeLock keeps requests on the same guest clusters apart: readers and overwrites share
// a range, whoever changes where it is stored has it alone. A request waits for every
// conflicting one that came before it, so none starves.
type rangeLock struct {
	mu    sync.Mutex
	freed sync.Cond
	list  []*lockedRange // in order of arrival
}

type lockedRange struct {
	start, end int64 // guest clusters, end exclusive
	exclusive  bool
}

func newRangeLock() *rangeLock {
	l := &rangeLock{}
	l.freed.L = &l.mu
	return l
}

func (r *lockedRange) conflicts(o *lockedRange) bool {
	return r.start < o.end && o.start < r.end && (r.exclusive || o.exclusive)
}

// lock waits until [start, end) is free for the given use and returns the function that
// gives it back.
func (l *rangeLock) lock(start, end int64, exclusive bool) (unlock func()) {
	r := &lockedRange{start, end, exclusive}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, r)
	for l.blocked(r) {
		l.freed.Wait()
	}
	return func() { l.unlock(r) }
}

// blocked tells if a conflicting request is before r in the list.
func (l *rangeLock) blocked(r *lockedRange) bool {
	for _, o := range l.list {
		if o == r {
			return false
		}
		if o.conflicts(r) {
			return true
		}
	}
	return false
}

func (l *rangeLock) unlock(r *lockedRange) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, o := range l.list {
		if o == r {
			l.list = append(l.list[:i], l.list[i+1:]...)
			break
		}
	}
	l.freed.Broadcast()
}
