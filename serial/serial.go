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
// the host to the front end with Receive, never more than the front end has room for.
package serial

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

// Frontend is the user of a Chardev. Its methods are called from the device's own
// goroutine, one call at a time.
type Frontend interface {
	// Receive takes bytes that came from the host's end and returns how many it had room
	// for; the rest comes again after Chardev.Ready.
	Receive(p []byte) int
	// Event tells about the line.
	Event(e Event)
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
