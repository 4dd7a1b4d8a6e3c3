package nbd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/qmon/qmon/blockdev/nbd"
)

// firstActivated is the first descriptor that a service manager hands over (sd_listen_fds).
const firstActivated = 3

// activated counts the sockets that a service manager has opened for this process.
func activated() int {
	if pid, err := strconv.Atoi(os.Getenv("LISTEN_PID")); err != nil || pid != os.Getpid() {
		return 0
	}
	n, err := strconv.Atoi(os.Getenv("LISTEN_FDS"))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// listen opens the socket that clients come to.
func listen(o *options) (l net.Listener, err error) {
	if n := activated(); n > 0 {
		return takeSocket(o, n)
	}
	err = labelled(o.label, func() error {
		l, err = o.address().Listen()
		return err
	})
	return l, err
}

// address is where the server listens, or where the one is that is asked for its list.
func (o *options) address() nbd.Address {
	if o.socket != "" {
		return nbd.Address{Network: "unix", Path: o.socket}
	}
	a := nbd.Address{Network: "tcp", Host: o.bind, Port: o.port}
	if a.Host == "" {
		a.Host = "0.0.0.0"
	}
	return a
}

// takeSocket takes the one socket of a service manager.
func takeSocket(o *options, n int) (net.Listener, error) {
	switch {
	case n > 1:
		return nil, fmt.Errorf("qemu-nbd does not support socket activation with more than %d file descriptor", 1)
	case o.socket != "":
		return nil, errors.New("Unix socket can't be set when using socket activation")
	case o.portGiven:
		return nil, errors.New("The port number can't be set when using socket activation")
	case o.bind != "":
		return nil, errors.New("The interface can't be set when using socket activation")
	}
	f := os.NewFile(firstActivated, "socket activation")
	l, err := net.FileListener(f)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("Failed to use socket: %w", err), f.Close())
	}
	return l, f.Close() // l has a descriptor of its own
}
