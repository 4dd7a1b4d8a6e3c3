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

// salvageUnit is what is given up where it cannot be read: a sector.
const salvageUnit = 512

// salvage reads what can be read of a piece, and leaves zeroes elsewhere.
func (c *copier) salvage(buf []byte, off int64) {
	for len(buf) > 0 {
		n := min(len(buf), salvageUnit)
		if _, err := c.src.ReadAt(buf[:n], off); err != nil {
			clear(buf[:n])
			c.mu.Lock()
			c.o.Salvage(off, err)
			c.mu.Unlock()
		}
		buf, off = buf[n:], off+int64(n)
	}
}
