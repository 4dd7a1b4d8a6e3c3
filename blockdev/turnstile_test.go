package blockdev

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
)

func TestTurnstileOrder(t *testing.T) {
	turns := newTurnstile(t.Context())
	var got []int64
	var wg sync.WaitGroup
	for n := range int64(20) {
		wg.Go(func() {
			if err := turns.wait(19 - n); err != nil {
				t.Error(err)
				return
			}
			got = append(got, 19-n) // only the one whose turn it is gets here
			turns.pass()
		})
	}
	wg.Wait()
	if !slices.IsSorted(got) || len(got) != 20 {
		t.Errorf("passed in the order %v", got)
	}
}

func TestTurnstileSendsAway(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	turns := newTurnstile(ctx)
	done := make(chan error)
	go func() { done <- turns.wait(1) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a turn that does not come: %v", err)
	}
}
