package serial

import (
	"context"
	"fmt"
	"net"
	"sync"
	"time"
)

// closeFlush is how long Close waits for a client to take the last output.
const closeFlush = time.Second

// acceptPause is how long a server that cannot take a client waits before the next.
const acceptPause = 100 * time.Millisecond

// socket is a Unix or TCP socket: a server with one client at a time, or a client.
type socket struct {
	port
	config   Config
	listener net.Listener // nil: a client

	link struct { // the connection, if there is one
		sync.Mutex
		conn  net.Conn
		queue *outQueue
	}
	life context.Context // done after Close
	end  context.CancelFunc
}

var _ Chardev = (*socket)(nil)

// openSocket listens or connects. A server with Wait returns when a client is there.
func openSocket(c Config) (*socket, error) {
	d := &socket{config: c}
	d.life, d.end = context.WithCancel(context.Background())
	d.init(c.ID, false)
	if c.Socket.Server {
		return d, d.openServer()
	}
	conn, err := d.dial()
	if err != nil && c.Socket.Reconnect == 0 {
		return nil, err
	}
	if err != nil {
		d.info("Unable to connect character device %s: %s", c.ID, err)
	} else {
		d.attach(conn)
	}
	go d.clientLoop(conn)
	return d, nil
}

func (d *socket) info(format string, args ...any) {
	if d.config.Info != nil {
		d.config.Info(fmt.Sprintf(format, args...))
	}
}

func (d *socket) openServer() error {
	var err error
	if d.listener, err = listen(d.config); err != nil {
		return err
	}
	var conn net.Conn
	if d.config.Socket.Wait {
		d.info("QEMU waiting for connection on: %s", d.Filename())
		if conn, err = d.listener.Accept(); err != nil {
			return err
		}
		d.attach(conn)
	}
	go d.serverLoop(conn)
	return nil
}

// serverLoop serves one client after the other; conn is the first, if there is one.
func (d *socket) serverLoop(conn net.Conn) {
	defer RestoreOnPanic()
	for {
		if conn == nil {
			if conn = d.accept(); conn == nil {
				return
			}
			d.attach(conn)
		}
		d.serve(conn)
		conn = nil
	}
}

// accept waits for a client; nil after Close.
func (d *socket) accept() net.Conn {
	for {
		conn, err := d.listener.Accept()
		if err == nil {
			return conn
		}
		select {
		case <-d.life.Done():
			return nil
		case <-time.After(acceptPause): // too many open files, or the like
		}
	}
}

// clientLoop serves the connection and makes a new one when it is lost, if it should.
func (d *socket) clientLoop(conn net.Conn) {
	defer RestoreOnPanic()
	for {
		if conn != nil {
			d.serve(conn)
		}
		if d.config.Socket.Reconnect == 0 {
			return
		}
		select {
		case <-d.life.Done():
			return
		case <-time.After(d.config.Socket.Reconnect):
		}
		conn, _ = d.dial()
		if conn != nil {
			d.attach(conn)
		}
	}
}

// attach makes conn the connection.
func (d *socket) attach(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetNoDelay(d.config.Socket.NoDelay || d.config.Socket.Telnet)
	}
	queue := newOutQueue(conn)
	if d.config.Socket.Telnet && d.config.Socket.Server {
		queue.write(telnetHello)
	}
	d.link.Lock()
	d.link.conn, d.link.queue = conn, queue
	d.link.Unlock()
	if d.isShut() {
		_ = conn.Close()
	}
}

// serve tells the front end of the peer, and reads until it is gone.
func (d *socket) serve(conn net.Conn) {
	d.event(EventOpened)
	d.read(conn)
	d.link.Lock()
	queue := d.link.queue
	d.link.conn, d.link.queue = nil, nil
	d.link.Unlock()
	queue.close()
	_ = conn.Close()
	if !d.isShut() {
		d.event(EventClosed)
	}
}

// read hands on what the peer sends.
func (d *socket) read(conn net.Conn) {
	var telnet telnetReader
	buf := make([]byte, chunk)
	for {
		n, err := conn.Read(buf)
		data := buf[:n]
		if d.config.Socket.Telnet {
			data = telnet.filter(data)
			for ; telnet.breaks > 0; telnet.breaks-- {
				d.event(EventBreak)
			}
		}
		if len(data) > 0 && !d.deliver(data) {
			return
		}
		if err != nil {
			return
		}
	}
}

// Write implements Chardev.
func (d *socket) Write(p []byte) (int, error) {
	d.record(p)
	d.link.Lock()
	queue := d.link.queue
	d.link.Unlock()
	if queue == nil {
		return len(p), nil
	}
	if d.config.Socket.Telnet {
		queue.write(telnetEscape(p))
	} else {
		queue.write(p)
	}
	return len(p), nil
}

// Terminal implements Chardev: QEMU edits lines on every socket, and people use that.
func (d *socket) Terminal() bool { return true }

// Close implements Chardev.
func (d *socket) Close() error {
	if !d.shut() {
		return nil
	}
	d.end()
	var err error
	if d.listener != nil {
		err = d.listener.Close()
	}
	d.link.Lock()
	conn, queue := d.link.conn, d.link.queue
	d.link.Unlock()
	if conn != nil {
		queue.flush(closeFlush)
		queue.close()
		_ = conn.Close()
	}
	return err
}
