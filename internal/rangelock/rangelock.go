// Package rangelock keeps requests on the same part of a disk apart.
package rangelock

import (
	"math"
	"sync"
)

// Lock locks ranges: those who share a range use it beside each other, whoever has it
// exclusively is alone. A request waits for every conflicting one that came before it, so
// none starves. Units are the user's: bytes, clusters.
type Lock struct {
	mu    sync.Mutex
	freed sync.Cond
	list  []*held // in order of arrival
	// overtaking lets a request go before those that wait.
	overtaking bool
}

// End as the end of a range means all there is.
const End = math.MaxInt64

type held struct {
	start, end int64 // end exclusive
	exclusive  bool
	granted    bool
}

// New is a Lock of which nothing is held.
func New() *Lock {
	l := &Lock{}
	l.freed.L = &l.mu
	return l
}

// NewOvertaking is a Lock whose requests wait for those that have a range, not for those that
// wait themselves: where somebody may hold one for ever, nobody else is stopped.
func NewOvertaking() *Lock {
	l := New()
	l.overtaking = true
	return l
}

func (r *held) conflicts(o *held) bool {
	return r.start < o.end && o.start < r.end && (r.exclusive || o.exclusive)
}

// Lock waits until [start, end) is free for the given use and returns the function that
// gives it back.
func (l *Lock) Lock(start, end int64, exclusive bool) (unlock func()) {
	r := &held{start: start, end: end, exclusive: exclusive}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, r)
	for l.blocked(r) {
		l.freed.Wait()
	}
	r.granted = true
	return func() { l.unlock(r) }
}

// blocked tells if r has to wait for a conflicting request.
func (l *Lock) blocked(r *held) bool {
	for _, o := range l.list {
		if o == r && !l.overtaking {
			return false // those behind came later
		}
		if o != r && o.conflicts(r) && (o.granted || !l.overtaking) {
			return true
		}
	}
	return false
}

func (l *Lock) unlock(r *held) {
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
