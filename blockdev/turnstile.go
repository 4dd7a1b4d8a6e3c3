package blockdev

import (
	"context"
	"sync"
)

// turnstile lets goroutines pass one after the other, by number.
type turnstile struct {
	ctx  context.Context
	mu   sync.Mutex
	cond sync.Cond
	next int64 // whose turn it is
}

// newTurnstile counts from 0. Who waits is sent away when ctx is done.
func newTurnstile(ctx context.Context) *turnstile {
	t := &turnstile{ctx: ctx}
	t.cond.L = &t.mu
	context.AfterFunc(ctx, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		t.cond.Broadcast()
	})
	return t
}

// wait returns when it is the turn of number n, which calls pass when it is through.
func (t *turnstile) wait(n int64) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.next != n {
		if t.ctx.Err() != nil {
			return context.Cause(t.ctx)
		}
		t.cond.Wait()
	}
	return nil
}

// pass gives the turn to the next.
func (t *turnstile) pass() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.next++
	t.cond.Broadcast()
}
