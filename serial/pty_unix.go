//go:build unix

package serial

import (
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// ptyPoll is how often a pseudo terminal that nobody has opened is looked at: the system
// does not tell when somebody does.
const ptyPoll = 100 * time.Millisecond

// PTY is the master of a pseudo terminal; a terminal program opens its other side.
type PTY struct {
	port
	path    string
	master  *os.File
	in      *pollReader
	writing sync.Mutex
	stalled bool // the other side does not read; guarded by writing
}

var _ Chardev = (*PTY)(nil)

func openPTY(c Config) (*PTY, error) {
	master, slave, err := pty.Open()
	if err != nil {
		return nil, fmt.Errorf("Failed to create PTY: %s", sysMessage(err))
	}
	d := &PTY{master: master, path: slave.Name()}
	d.init(c.ID, false)
	err = rawSlave(slave)
	_ = slave.Close()
	fd := int(master.Fd())
	if err == nil {
		err = unix.SetNonblock(fd, true) // after Fd, which makes it blocking
	}
	if err == nil {
		d.in, err = newPollReader(fd)
	}
	if err != nil {
		_ = master.Close()
		return nil, err
	}
	go d.readLoop()
	return d, nil
}

// rawSlave has the terminal's other side pass bytes as they are.
func rawSlave(slave *os.File) error {
	t, err := getTerminal(int(slave.Fd()))
	if err != nil {
		return err
	}
	t = makeRaw(t, false)
	t.Oflag &^= unix.OPOST
	return setTerminal(int(slave.Fd()), t)
}

// readLoop follows the comings and goings at the other side and hands on what is typed.
func (d *PTY) readLoop() {
	defer RestoreOnPanic()
	defer d.closeMaster()
	buf := make([]byte, chunk)
	for {
		events, err := d.in.wait(int(ptyPoll.Milliseconds()))
		if err != nil {
			return
		}
		if events&unix.POLLHUP != 0 && events&unix.POLLIN == 0 {
			d.setOpen(false)
			time.Sleep(ptyPoll)
			continue
		}
		d.setOpen(true)
		if events&unix.POLLIN == 0 {
			continue
		}
		n, _ := unix.Read(d.in.fd, buf)
		if n > 0 && !d.deliver(buf[:n]) {
			return
		}
	}
}

// setOpen tells the front end when somebody came or went.
func (d *PTY) setOpen(open bool) {
	switch was := d.isOpen(); {
	case open && !was:
		d.event(EventOpened)
	case !open && was:
		d.event(EventClosed)
	}
}

// Path names the terminal's other side.
func (d *PTY) Path() string { return d.path }

// Filename implements Chardev.
func (d *PTY) Filename() string { return "pty:" + d.path }

// Write implements Chardev.
func (d *PTY) Write(p []byte) (int, error) {
	d.record(p)
	d.writing.Lock()
	defer d.writing.Unlock()
	for rest := p; len(rest) > 0 && d.isOpen() && !d.isShut(); {
		n, err := unix.Write(d.in.fd, rest)
		if n > 0 {
			rest, d.stalled = rest[n:], false
			continue
		}
		if err != unix.EAGAIN || d.stalled {
			break
		}
		d.stalled = !d.waitForRoom()
	}
	return len(p), nil
}

// closeMaster ends the terminal when no write is under way.
func (d *PTY) closeMaster() {
	d.writing.Lock()
	defer d.writing.Unlock()
	_ = d.master.Close()
}

// waitForRoom waits until the terminal takes output again, and tells if it does.
func (d *PTY) waitForRoom() bool {
	fds := []unix.PollFd{{Fd: int32(d.in.fd), Events: unix.POLLOUT}}
	n, err := unix.Poll(fds, int(stallTime.Milliseconds()))
	return err == unix.EINTR || n > 0
}

// Terminal implements Chardev.
func (d *PTY) Terminal() bool { return true }

// Close implements Chardev.
func (d *PTY) Close() error {
	if !d.shut() {
		return nil
	}
	return d.in.Close()
}

// isOpen tells if the host's end is there.
func (p *port) isOpen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.open
}
