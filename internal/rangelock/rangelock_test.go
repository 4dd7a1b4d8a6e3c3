package rangelock_test

import (
	"testing"
	"testing/synctest"

	"github.com/qmon/qmon/internal/rangelock"
)

// TestWhoWaitsForWhom: A has [0,2); B waits for it with [1,4); C wants [3,5) alone.
func TestWhoWaitsForWhom(t *testing.T) {
	for name, c := range map[string]struct {
		make   func() *rangelock.Lock
		cWaits bool
	}{
		"in order":   {rangelock.New, true},
		"overtaking": {rangelock.NewOvertaking, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				lock := c.make()
				releaseA := lock.Lock(0, 2, true)
				start := func(from, to int64) chan func() {
					got := make(chan func(), 1)
					go func() { got <- lock.Lock(from, to, true) }()
					synctest.Wait() // it has the range, or waits for it
					return got
				}
				b := start(1, 4)
				got := start(3, 5)
				if waits := len(got) == 0; waits != c.cWaits {
					t.Errorf("C waits: %v", waits)
				}
				releaseA()
				if c.cWaits {
					(<-b)()
					(<-got)()
				} else {
					(<-got)()
					(<-b)()
				}
			})
		})
	}
}
