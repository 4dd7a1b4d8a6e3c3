package blockdev

import (
	"context"
	"sync"
	"time"
)

// pace holds copying to a number of bytes a second, counted from the start.
type pace struct {
	limit int64 // 0 for none
	start time.Time

	mu   sync.Mutex
	sent int64
}

// wait returns when n more bytes may be copied, or ctx is done.
func (p *pace) wait(ctx context.Context, n int64) error {
	if p.limit == 0 {
		return nil
	}
	p.mu.Lock()
	due := p.start.Add(time.Duration(float64(p.sent) / float64(p.limit) * float64(time.Second)))
	p.sent += n
	p.mu.Unlock()
	timer := time.NewTimer(time.Until(due))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
