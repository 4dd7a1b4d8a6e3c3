// Package serial holds character devices (stdio, files, pipes, pseudo terminals, sockets,
// a ring buffer) and the multiplexer that lets several front ends share one, with its
// C-a keys.
//
//	guest UART   monitor          front ends: Frontend
//	     \        /
//	       Mux                    C-a c switches the focus
//	        |
//	     Chardev                  stdio, socket, pty, ...
//
// A Chardev carries bytes from its front end to the host with Write, and hands bytes from
// the host to the front end with Receive, never more than the front end has room for:
// nothing is read ahead, so that a fast sender waits at its own end.
//
// Output. Write to a terminal, a file or a standard output blocks as they do. A socket has
// a queue of one MiB; a client that takes nothing for ten seconds while it is full is
// disconnected. A pseudo terminal or a named pipe that nobody reads holds up its writer
// for one second, then loses what it does not take, as QEMU's do.
//
// Programs that use a terminal defer [RestoreTerminals] in main, call [WatchSignals], and
// defer [RestoreOnPanic] in goroutines of their own.
package serial

import "time"

// Chardev is a character device: the host's end of a serial line or a monitor.
// All methods are safe for concurrent use.
type Chardev interface {
	// ID is the device's name: "serial0", "mon0", the user's id.
	ID() string
	// Filename describes the host's end as info chardev shows it:
	// "unix:/tmp/s,server=on", "pty:/dev/pts/3", "mux".
	Filename() string
	// Connect attaches the front end; nil detaches. One at a time.
	Connect(f Frontend) error
	// Connected tells if a front end is attached.
	Connected() bool
	// Write sends bytes to the host's end. With nobody there (a socket without a client)
	// they are dropped. It may block as long as the host's end does.
	Write(p []byte) (int, error)
	// Ready tells the device that the front end has room again after Receive took less
	// than it was given.
	Ready()
	// Terminal tells if a person sits at the host's end: line editing makes sense.
	Terminal() bool
	// Close detaches the front end and ends the host's end, putting terminals back.
	Close() error
}

// Sizer is a Chardev that may know the size of the window at the host's end.
type Sizer interface {
	// Size is in characters; 0, 0 if it is not known.
	Size() (columns, rows int)
}

// HasWindow tells if a terminal is known to be at the host's end, where Chardev.Terminal
// only says that there may be one: it has a window with a size. Colour makes sense.
func HasWindow(c Chardev) bool {
	s, ok := c.(Sizer)
	if !ok || !c.Terminal() {
		return false
	}
	columns, _ := s.Size()
	return columns > 0
}

// Frontend is the user of a Chardev. Its methods are called one at a time, by the device's
// own goroutine; the EventOpened of a line that is open already comes from within Connect.
// They must not call Connect or Close.
//
// On a multiplexer, the front end that is connected first has the focus; each of the
// others gets EventFocusOut before its first EventOpened.
type Frontend interface {
	// Receive takes bytes that came from the host's end and returns how many it had room
	// for; the rest comes again after Chardev.Ready.
	Receive(p []byte) int
	// Event tells about the line.
	Event(e Event)
}

// Settler is a Frontend that works on what it has received after Receive has returned: a
// console. Before a multiplexer's key has its effect, the front end with the focus gets
// time to finish what was typed before, so that a script that ends in C-a x sees its
// commands done, as with QEMU.
type Settler interface {
	// Settle returns when the front end waits for more input, at the latest after limit.
	Settle(limit time.Duration)
}

// Event is something that happens to a line besides bytes.
type Event uint8

const (
	EventOpened   Event = iota + 1 // a client connected
	EventClosed                    // the client went away
	EventBreak                     // C-a b, or a break on the line
	EventFocusIn                   // the multiplexer's input goes to this front end now
	EventFocusOut                  // and now no more
)
