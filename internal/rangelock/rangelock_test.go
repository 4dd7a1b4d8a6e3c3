package rangelock_test

import (
	"testing"
	"time"

	"github.com/qmon/qmon/internal/rangelock"
)

// TestWhoWaitsForWhom: A has [0,2); B waits for it with [1,4); C wants [3,5) alone.
func TestWhoWaitsForWhom(t *testing.T) {
	for name, c := range map[string]struct {
		lock   *rangelock.Lock
		cWaits bool
	}{
		"in order":   {rangelock.New(), true},
		"overtaking": {rangelock.NewOvertaking(), false},
	} {
		releaseA := c.lock.Lock(0, 2, true)
		start := func(from, to int64) chan func() {
			got := make(chan func(), 1)
			go func() { got <- c.lock.Lock(from, to, true) }()
			time.Sleep(20 * time.Millisecond) // it is in the list by then
			return got
		}
		b := start(1, 4)
		got := start(3, 5)
		select {
		case release := <-got:
			if c.cWaits {
				t.Errorf("%s: C went before B", name)
			}
			release()
			releaseA()
			(<-b)()
		default:
			if !c.cWaits {
				t.Errorf("%s: C waits", name)
			}
			releaseA()
			(<-b)()
			(<-got)()
		}
	}
}
