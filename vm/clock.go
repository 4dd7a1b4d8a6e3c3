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
	source clockSource
	shift  int  // an instruction takes 1<<shift ns
	sleeps bool // idle time passes as on the host instead of being jumped over

	icount int64         // instructions executed
	mark   int64         // icount at base
	base   time.Duration // virtual time at mark (instructions) or start (host)
	start  time.Time     // host time at base

	running bool
	timers  timerHeap
	adapt   adapter

	// executed is how far the processor in a slice has come, nil outside of one; hurry
	// ends the slice, because a timer is due before its budget is used up.
	executed func() int64
	hurry    func()
}

// clockSource is what makes a clock go on.
type clockSource uint8

const (
	sourceHost         clockSource = iota
	sourceInstructions             // at a fixed rate
	sourceAdaptive                 // instructions, at a rate that keeps up with the host
)

// MaxShift is the slowest rate of an instruction clock: about a million instructions a
// second.
const MaxShift = 10

// NewHostClock returns a clock that follows the host's.
func NewHostClock() *Clock { return &Clock{source: sourceHost} }

// NewInstructionClock returns a clock on which an instruction takes 1<<shift nanoseconds.
// While all processors wait, it jumps to the next timer, so that runs are reproducible;
// with SetSleep it lets the host's time pass instead.
func NewInstructionClock(shift int) *Clock {
	return &Clock{source: sourceInstructions, shift: min(max(shift, 0), MaxShift)}
}

// NewAdaptiveClock returns an instruction clock whose rate follows the host's time:
// -icount shift=auto.
func NewAdaptiveClock() *Clock {
	return &Clock{source: sourceAdaptive, shift: adaptiveShift, sleeps: true}
}

// SetSleep chooses what idle time is to an instruction clock: as long as on the host, or
// nothing at all. An adaptive clock always sleeps.
func (c *Clock) SetSleep(on bool) { c.sleeps = on || c.source == sourceAdaptive }

// CountsInstructions tells if time is the number of instructions executed.
func (c *Clock) CountsInstructions() bool { return c.source != sourceHost }

// Reproducible tells if two runs with the same input see the same times: devices then do
// their work at once instead of beside the processors.
func (c *Clock) Reproducible() bool { return c.source == sourceInstructions && !c.sleeps }

// Instructions is how many instructions have been executed.
func (c *Clock) Instructions() int64 {
	if c.executed != nil {
		return c.icount + c.executed()
	}
	return c.icount
}

// Now is the virtual time since power-on.
func (c *Clock) Now() time.Duration {
	switch {
	case c.CountsInstructions():
		return c.base + time.Duration((c.Instructions()-c.mark)<<c.shift)
	case c.running:
		return c.base + time.Since(c.start)
	}
	return c.base
}

// Set makes now the virtual time, as loadvm does. Timers stay at their times.
func (c *Clock) Set(now time.Duration) {
	c.base, c.mark, c.start = now, c.Instructions(), time.Now()
	c.adapt = adapter{}
}

func (c *Clock) setRunning(on bool) {
	if on != c.running {
		c.Set(c.Now())
		c.running = on
	}
}

// advance counts executed instructions.
func (c *Clock) advance(n int64) {
	c.icount += n
	if c.source == sourceAdaptive {
		c.adapt.follow(c)
	}
}

// pass lets d of virtual time go by in which nothing was executed.
func (c *Clock) pass(d time.Duration) { c.base += max(d, 0) }

// budgetUntil is how many instructions fit before t, at least 1.
func (c *Clock) budgetUntil(t time.Duration) int64 {
	left := t - c.Now()
	if left <= 0 {
		return 1
	}
	return max(int64(left-1)>>c.shift+1, 1)
}

// An adaptive clock starts at 8 ns an instruction and looks at its rate ten times a
// second: often enough to follow a load, seldom enough not to be led by one slow request.
const (
	adaptiveShift  = 3
	adaptivePeriod = 100 * time.Millisecond
)

// adapter keeps an instruction clock near the host's.
type adapter struct {
	host    time.Time     // when it looked last
	virtual time.Duration // and what time it was on the clock
}

// follow makes instructions take longer when the clock falls behind and shorter when it
// runs ahead by more than half of the time since the last look.
func (a *adapter) follow(c *Clock) {
	now := time.Now()
	if a.host.IsZero() {
		a.host, a.virtual = now, c.Now()
		return
	}
	host := now.Sub(a.host)
	if host < adaptivePeriod {
		return
	}
	virtual := c.Now() - a.virtual
	shift := c.shift
	switch {
	case virtual < host*2/3 && shift < MaxShift:
		shift++
	case virtual > host*3/2 && shift > 0:
		shift--
	}
	c.base, c.mark = c.Now(), c.icount
	c.shift = shift
	a.host, a.virtual = now, c.base
}

// Timer calls a function on the machine's goroutine when its time has come.
type Timer struct {
	clock *Clock
	fn    func()
	at    time.Duration
	seq   uint64 // timers of one time fire in the order they were set
	index int    // in the heap, -1 if not armed
}

// NewTimer makes an unarmed timer.
func (c *Clock) NewTimer(fn func()) *Timer { return &Timer{clock: c, fn: fn, index: -1} }

// Set arms the timer for virtual time at, or moves it there.
func (t *Timer) Set(at time.Duration) {
	h := &t.clock.timers
	t.at = at
	h.seq++
	t.seq = h.seq
	if t.index >= 0 {
		heap.Fix(h, t.index)
	} else {
		heap.Push(h, t)
	}
	if t.index == 0 && t.clock.hurry != nil {
		t.clock.hurry()
	}
}

// Stop disarms the timer.
func (t *Timer) Stop() {
	if t.index >= 0 {
		heap.Remove(&t.clock.timers, t.index)
	}
}

// Armed tells if the timer is set, and for when.
func (t *Timer) Armed() (at time.Duration, ok bool) { return t.at, t.index >= 0 }

// next is when the earliest timer is due.
func (c *Clock) next() (time.Duration, bool) {
	if len(c.timers.all) == 0 {
		return 0, false
	}
	return c.timers.all[0].at, true
}

// fire runs every timer that is due now; one that is set again for a time that has come
// too waits for the next call, so that a guest cannot keep fire from returning.
func (c *Clock) fire() {
	now, last := c.Now(), c.timers.seq
	for len(c.timers.all) > 0 {
		t := c.timers.all[0]
		if t.at > now || t.seq > last {
			return
		}
		heap.Pop(&c.timers)
		t.fn()
	}
}

// timerHeap is a container/heap of timers, the earliest first.
type timerHeap struct {
	all []*Timer
	seq uint64
}

func (h *timerHeap) Len() int { return len(h.all) }
func (h *timerHeap) Less(i, j int) bool {
	a, b := h.all[i], h.all[j]
	return a.at < b.at || a.at == b.at && a.seq < b.seq
}
func (h *timerHeap) Swap(i, j int) {
	h.all[i], h.all[j] = h.all[j], h.all[i]
	h.all[i].index, h.all[j].index = i, j
}
func (h *timerHeap) Push(x any) {
	t := x.(*Timer)
	t.index = len(h.all)
	h.all = append(h.all, t)
}
func (h *timerHeap) Pop() any {
	last := len(h.all) - 1
	t := h.all[last]
	h.all = h.all[:last]
	t.index = -1
	return t
}
