package vm

import (
	"container/heap"
	"time"
)

// Clock is a machine's virtual clock: it stands still while the machine is stopped. It
// follows the host's monotonic clock, or, with instruction counting, the number of
// executed instructions, which makes every run the same. Used on the machine's goroutine
// only.
type Clock struct {
	// shift: an instruction takes 1<<shift ns; negative follows the host.
	shift   int
	icount  int64         // instructions executed
	warp    time.Duration // virtual time skipped while all processors were halted
	running bool
	offset  time.Duration // virtual time at start
	start   time.Time     // host time when the clock was started
	timers  timerHeap
}

// hostClock is the shift of a clock that follows the host.
const hostClock = -1

// NewHostClock returns a clock that follows the host's.
func NewHostClock() *Clock { return &Clock{shift: hostClock} }

// NewInstructionClock returns a clock on which an instruction takes 1<<shift nanoseconds.
// While all processors wait, it jumps to the next timer.
func NewInstructionClock(shift int) *Clock { return &Clock{shift: shift} }

// CountsInstructions tells if time is the number of instructions executed.
func (c *Clock) CountsInstructions() bool { return c.shift >= 0 }

// Instructions is how many instructions have been executed, if the clock counts them.
func (c *Clock) Instructions() int64 { return c.icount }

// Now is the virtual time since power-on.
func (c *Clock) Now() time.Duration {
	switch {
	case c.shift >= 0:
		return c.offset + c.warp + time.Duration(c.icount<<c.shift)
	case c.running:
		return c.offset + time.Since(c.start)
	}
	return c.offset
}

// Set makes now the virtual time, as loadvm does. Timers stay at their times.
func (c *Clock) Set(now time.Duration) {
	c.offset, c.start, c.warp, c.icount = now, time.Now(), 0, 0
}

func (c *Clock) setRunning(on bool) {
	if c.shift < 0 && on != c.running {
		c.offset = c.Now()
		c.start = time.Now()
	}
	c.running = on
}

// advance counts executed instructions.
func (c *Clock) advance(n int64) { c.icount += n }

// skipTo jumps over a time in which nothing was executed.
func (c *Clock) skipTo(t time.Duration) {
	if d := t - c.Now(); c.shift >= 0 && d > 0 {
		c.warp += d
	}
}

// budgetUntil is how many instructions fit before t, at least 1.
func (c *Clock) budgetUntil(t time.Duration) int64 {
	n := int64(t-c.Now()+(1<<c.shift)-1) >> c.shift
	return max(n, 1)
}

// Timer calls a function on the machine's goroutine when its time has come.
type Timer struct {
	clock *Clock
	fn    func()
	at    time.Duration
	index int // in the heap, -1 if not armed
}

// NewTimer makes an unarmed timer.
func (c *Clock) NewTimer(fn func()) *Timer { return &Timer{clock: c, fn: fn, index: -1} }

// Set arms the timer for virtual time at, or moves it there.
func (t *Timer) Set(at time.Duration) {
	t.at = at
	if t.index >= 0 {
		heap.Fix(&t.clock.timers, t.index)
		return
	}
	heap.Push(&t.clock.timers, t)
}

// Stop disarms the timer.
func (t *Timer) Stop() {
	if t.index >= 0 {
		heap.Remove(&t.clock.timers, t.index)
	}
}

// next is when the earliest timer is due.
func (c *Clock) next() (time.Duration, bool) {
	if len(c.timers) == 0 {
		return 0, false
	}
	return c.timers[0].at, true
}

// fire runs every timer that is due.
func (c *Clock) fire() {
	for len(c.timers) > 0 && c.timers[0].at <= c.Now() {
		t := heap.Pop(&c.timers).(*Timer)
		t.fn()
	}
}

type timerHeap []*Timer

func (h timerHeap) Len() int           { return len(h) }
func (h timerHeap) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timerHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
	t.index = len(*h)
	*h = append(*h, t)
}
func (h *timerHeap) Pop() any {
	old := *h
	t := old[len(old)-1]
	*h = old[:len(old)-1]
	t.index = -1
	return t
}
