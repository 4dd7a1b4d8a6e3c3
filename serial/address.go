package serial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// dialPatience bounds an attempt to connect.
const dialPatience = 30 * time.Second

// network names the family for package net.
func (s SocketConfig) network() string {
	switch {
	case s.IPv4 && !s.IPv6:
		return "tcp4"
	case s.IPv6 && !s.IPv4:
		return "tcp6"
	}
	return "tcp"
}

// portNumber is a port's number as QEMU's resolver takes it: modulo 65536, or a service's
// name.
func portNumber(s SocketConfig) (int, error) {
	if n, err := strconv.ParseUint(s.Port, 10, 32); err == nil {
		return int(uint16(n)), nil
	}
	n, err := net.LookupPort("tcp", s.Port)
	if err != nil {
		return 0, fmt.Errorf("address resolution failed for %s:%s: Servname not supported for ai_socktype",
			s.Host, s.Port)
	}
	return n, nil
}

// listen opens a server's socket.
func listen(c Config) (net.Listener, error) {
	if !c.Socket.TCP {
		return listenUnix(c.Path)
	}
	first, err := portNumber(c.Socket)
	if err != nil {
		return nil, err
	}
	network := c.Socket.network()
	if c.Socket.Host == "" && network == "tcp" {
		network = "tcp4" // as QEMU, which takes the first address of the host
	}
	for p := first; ; p++ {
		address := net.JoinHostPort(c.Socket.Host, strconv.Itoa(p))
		l, err := net.Listen(network, address)
		var dns *net.DNSError
		switch {
		case err == nil:
			return l, nil
		case errors.As(err, &dns):
			return nil, resolveError(c.Socket, err)
		case p >= c.Socket.To || !errors.Is(err, syscall.EADDRINUSE):
			return nil, fmt.Errorf("Failed to find an available port: %s", sysMessage(err))
		}
	}
}

func resolveError(s SocketConfig, err error) error {
	return fmt.Errorf("address resolution failed for %s:%s: %s", s.Host, s.Port, sysMessage(err))
}

// listenUnix replaces a socket that an earlier program left behind, but no other file.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() == fs.ModeSocket {
		_ = os.Remove(path)
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("Failed to bind socket to %s: %s", path, sysMessage(err))
	}
	return l, nil
}

// dial connects a client.
func (d *socket) dial() (net.Conn, error) {
	ctx, cancel := context.WithTimeout(d.life, dialPatience)
	defer cancel()
	var dialer net.Dialer
	s := d.config.Socket
	if !s.TCP {
		conn, err := dialer.DialContext(ctx, "unix", d.config.Path)
		if err != nil {
			err = fmt.Errorf("Failed to connect to '%s': %s", d.config.Path, sysMessage(err))
		}
		return conn, err
	}
	p, err := portNumber(s)
	if err != nil {
		return nil, err
	}
	conn, err := dialer.DialContext(ctx, s.network(), net.JoinHostPort(s.Host, strconv.Itoa(p)))
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns):
		return nil, resolveError(s, err)
	case err != nil:
		return nil, fmt.Errorf("Failed to connect to '%s:%s': %s", s.Host, s.Port, sysMessage(err))
	}
	return conn, nil
}

// Filename implements Chardev.
func (d *socket) Filename() string {
	d.link.Lock()
	conn := d.link.conn
	d.link.Unlock()
	var text strings.Builder
	if conn == nil {
		text.WriteString("disconnected:")
	}
	s := d.config.Socket
	switch {
	case !s.TCP && (conn == nil || s.Server):
		text.WriteString("unix:" + d.config.Path)
	case !s.TCP:
		text.WriteString("unix:")
	default:
		text.WriteString(d.protocol() + ":" + d.localAddress(conn))
	}
	if s.Server {
		text.WriteString(",server=on")
	}
	if conn != nil && s.TCP {
		text.WriteString(" <-> " + conn.RemoteAddr().String())
	}
	return text.String()
}

func (d *socket) protocol() string {
	if d.config.Socket.Telnet {
		return "telnet"
	}
	return "tcp"
}

// localAddress is the connection's own end; without one, where a server listens or what a
// client would connect to.
func (d *socket) localAddress(conn net.Conn) string {
	switch s := d.config.Socket; {
	case conn != nil:
		return conn.LocalAddr().String()
	case d.listener != nil:
		a := d.listener.Addr().(*net.TCPAddr)
		return a.IP.String() + ":" + strconv.Itoa(a.Port)
	default:
		return s.Host + ":" + s.Port
	}
}
