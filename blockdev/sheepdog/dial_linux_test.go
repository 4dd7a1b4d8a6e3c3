package sheepdog

import (
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// deaf is an address that answers no connection, as that of a host which is down: a socket
// whose queue is full.
func deaf(t *testing.T) string {
	t.Helper()
	fd := must(syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0))(t)
	t.Cleanup(func() { _ = syscall.Close(fd) })
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(fd, 0); err != nil {
		t.Fatal(err)
	}
	name := must(syscall.Getsockname(fd))(t)
	addr := net.JoinHostPort(localHost, strconv.Itoa(name.(*syscall.SockaddrInet4).Port))
	c := must(net.Dial("tcp", addr))(t)
	t.Cleanup(func() { _ = c.Close() })
	return addr
}

// TestHostIsDown: a gateway that is waited for in vain leaves time for the next.
func TestHostIsDown(t *testing.T) {
	r := newRig(t)
	r.disk("d", mib)
	up := r.gateway.Addr()
	r.addr = deaf(t)
	m := must(r.tryOpen("d", blockdev.Mode{}, blockdev.Options{"gateways": up, "request-timeout": "2"}))(t)
	r.wants(m, 0, 0, mib)
	_ = m.Close()
}
