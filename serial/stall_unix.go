//go:build unix

package serial

import (
	"os"
	"sync"
	"time"
)

// stallTime is how long output waits for a reader that has stopped reading.
const stallTime = time.Second

// stallWriter writes to a file that can be polled and whose reader may not be there. The
// first write that cannot go on waits for stallTime, then its rest is lost; later ones
// lose what is not taken at once, until something is.
type stallWriter struct {
	mu      sync.Mutex
	file    *os.File
	stalled bool
}

// Write never fails for want of a reader.
func (w *stallWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	wait := stallTime
	if w.stalled {
		wait = time.Millisecond
	}
	if err := w.file.SetWriteDeadline(time.Now().Add(wait)); err != nil {
		return 0, err
	}
	n, err := w.file.Write(p)
	w.stalled = os.IsTimeout(err) && n == 0
	if err != nil && !os.IsTimeout(err) {
		return n, err
	}
	return len(p), nil
}
