package vm

import (
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
)

// LogItem is a kind of event that can be logged, by the name that -d and the monitor's log
// command have for it.
type LogItem uint32

const (
	LogGuestErrors LogItem = 1 << iota // the guest did something a device does not define
	LogUnimp                           // the guest used something that is not there
	LogInterrupts                      // exceptions and interrupts taken
	LogReset                           // resets, with the processors' registers before
)

// LogItems are the items with their names and what they log, in order.
var LogItems = []struct {
	Item       LogItem
	Name, Help string
}{
	{LogInterrupts, "int", "show every exception and interrupt that is taken"},
	{LogReset, "cpu_reset", "show the processors' registers before each reset"},
	{LogUnimp, "unimp", "show what guests use that is not there"},
	{LogGuestErrors, "guest_errors", "show what guests do that a device does not define"},
}

// Log is a machine's log: off until items are enabled, on standard error until a file is
// set. Safe for concurrent use; a nil Log logs nothing.
type Log struct {
	enabled atomic.Uint32
	mu      sync.Mutex
	out     io.Writer
	file    *os.File // that out is, if SetFile opened it
}

// Enabled tells if the item is logged; ask before preparing something costly.
func (l *Log) Enabled(item LogItem) bool { return l != nil && l.enabled.Load()&uint32(item) != 0 }

// Enable switches the named items on and all others off. An unknown name changes nothing.
func (l *Log) Enable(names []string) error {
	var mask LogItem
	for _, name := range names {
		item := itemNamed(name)
		if item == 0 {
			return fmt.Errorf("Invalid parameter \"%s\"", name)
		}
		mask |= item
	}
	l.enabled.Store(uint32(mask))
	return nil
}

func itemNamed(name string) (item LogItem) {
	for _, i := range LogItems {
		if i.Name == name || name == "all" {
			item |= i.Item
		}
	}
	return item
}

// SetFile sends the log to a file, created or emptied, from now on; "" is standard error.
func (l *Log) SetFile(name string) error {
	var file *os.File
	if name != "" {
		var err error
		if file, err = os.Create(name); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	old := l.file
	l.out, l.file = nil, file
	if file != nil {
		l.out = file
	}
	if old != nil {
		return old.Close()
	}
	return nil
}

// Printf logs a line, if its item is enabled.
func (l *Log) Printf(item LogItem, format string, args ...any) {
	if !l.Enabled(item) {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	out := l.out
	if out == nil {
		out = os.Stderr
	}
	fmt.Fprintf(out, format+"\n", args...)
}
