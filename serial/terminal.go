package serial

import (
	"os"
	"slices"
	"sync"
)

// terminal is a terminal in raw mode and the way back.
type terminal struct {
	fd         int
	saved, raw terminalState
}

// terminals are those in raw mode.
var terminals struct {
	mu   sync.Mutex
	list []*terminal
}

// enterRaw puts a terminal into raw mode: every key comes at once and without an echo.
// With signal, C-c, C-\ and C-z still send their signals.
func enterRaw(fd int, signal bool) (*terminal, error) {
	saved, err := getTerminal(fd)
	if err != nil {
		return nil, err
	}
	t := &terminal{fd: fd, saved: saved, raw: makeRaw(saved, signal)}
	terminals.mu.Lock()
	defer terminals.mu.Unlock()
	if err := setTerminal(fd, t.raw); err != nil {
		return nil, err
	}
	terminals.list = append(terminals.list, t)
	return t, nil
}

// restore puts the terminal back for good.
func (t *terminal) restore() error {
	terminals.mu.Lock()
	defer terminals.mu.Unlock()
	i := slices.Index(terminals.list, t)
	if i < 0 {
		return nil
	}
	terminals.list = slices.Delete(terminals.list, i, i+1)
	return setTerminal(t.fd, t.saved)
}

// RestoreTerminals puts every terminal back as it was found. The devices stay open, but
// what is typed comes by the line and with an echo: call it last.
func RestoreTerminals() {
	terminals.mu.Lock()
	defer terminals.mu.Unlock()
	for _, t := range terminals.list {
		_ = setTerminal(t.fd, t.saved)
	}
}

// RestoreOnPanic is deferred in goroutines of programs that use a terminal: if they panic,
// it puts the terminals back before the program dies.
func RestoreOnPanic() {
	if r := recover(); r != nil {
		RestoreTerminals()
		panic(r)
	}
}

// WatchSignals has the terminals put back when one of the signals comes that end a
// program (interrupt, termination, hang-up, quit), and then calls next with it; without
// next, the signal does what it does by default. A stop from the terminal (C-z) puts them
// back, too, and continuing makes them raw again. The returned function ends all that.
func WatchSignals(next func(os.Signal)) (stop func()) {
	signals := make(chan os.Signal, 4)
	done := make(chan struct{})
	notifySignals(signals)
	go func() {
		defer RestoreOnPanic()
		for {
			select {
			case s := <-signals:
				handleSignal(s, next)
			case <-done:
				return
			}
		}
	}()
	return sync.OnceFunc(func() {
		stopSignals(signals)
		close(done)
	})
}
