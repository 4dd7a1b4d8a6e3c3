package nbd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/qmon/qmon/blockdev"
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
func listen(o *options) (net.Listener, error) {
	if n := activated(); n > 0 {
		return takeSocket(o, n)
	}
	if o.socket != "" {
		return listenUnix(o.socket)
	}
	host := o.bind
	if host == "" {
		host = "0.0.0.0"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, o.port))
	if err != nil {
		return nil, bindError("Failed to bind socket", err)
	}
	return l, nil
}

// listenUnix takes the place of a socket that nobody has removed.
func listenUnix(path string) (net.Listener, error) {
	if info, err := os.Lstat(path); err == nil && info.Mode()&os.ModeSocket != 0 {
		if err := os.Remove(path); err != nil {
			return nil, bindError("Failed to unlink socket "+path, err)
		}
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, bindError("Failed to bind socket to "+path, err)
	}
	return l, nil
}

func bindError(text string, err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return &blockdev.Error{Op: "listen", Offset: blockdev.NoOffset, Text: text, Err: pathCause(err)}
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
		return nil, errors.Join(bindError("Failed to use socket", err), f.Close())
	}
	return l, f.Close() // l has a descriptor of its own
}
