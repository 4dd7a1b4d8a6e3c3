package bat

import (
	"math"
	"sync"
)

// span is a range of blocks, the end not in it.
type span struct{ first, end int64 }

// allBlocks is as many as there can be.
var allBlocks = span{0, math.MaxInt64}

// spanLock keeps those apart who allocate the same blocks. Who came first goes first, so
// none starves.
type spanLock struct {
	mu    sync.Mutex
	freed sync.Cond
	list  []*span // in order of arrival
}

func newSpanLock() *spanLock {
	l := &spanLock{}
	l.freed.L = &l.mu
	return l
}

// lock waits until s is free and returns the function that gives it back.
func (l *spanLock) lock(s span) (unlock func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	mine := &s
	l.list = append(l.list, mine)
	for l.taken(mine) {
		l.freed.Wait()
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		for i, o := range l.list {
			if o == mine {
				l.list = append(l.list[:i], l.list[i+1:]...)
				break
			}
		}
		l.freed.Broadcast()
	}
}

// taken tells if somebody before mine has a part of it.
func (l *spanLock) taken(mine *span) bool {
	for _, o := range l.list {
		if o == mine {
			return false
		}
		if o.first < mine.end && mine.first < o.end {
			return true
		}
	}
	return false
}
