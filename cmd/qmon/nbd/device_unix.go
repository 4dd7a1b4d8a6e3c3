//go:build unix

package nbd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"

	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/blockdev/nbd/kernel"
	"github.com/qmon/qmon/blockdev/nbd/server"
)

// attach is --connect: the kernel's client shows the export as a device, over a pair of
// sockets whose other end is served until the device is disconnected or ctx ends.
func (t *tool) attach(ctx context.Context, o *options, e server.Export) error {
	ours, theirs, err := socketPair()
	if err != nil {
		return err
	}
	s := server.New(t.serverOptions(o, nil))
	if err := s.Add(e); err != nil {
		return errors.Join(err, ours.Close(), theirs.Close())
	}
	gone := make(chan error, 1)
	go func() { gone <- s.ServeConn(context.WithoutCancel(ctx), ours) }()
	err = handOver(ctx, o, theirs, e)
	if err != nil {
		return errors.Join(err, s.Close(), <-gone)
	}
	if o.verbose {
		fmt.Fprintf(t.stdout, "NBD device %s is now connected to %s\n", o.device, o.filename)
	}
	if err := t.ready(o); err != nil {
		return errors.Join(err, kernel.Disconnect(o.device), s.Close(), <-gone)
	}
	select {
	case err = <-gone:
		return err
	case <-ctx.Done():
		// What the kernel has in flight is finished before it lets go.
		return errors.Join(kernel.Disconnect(o.device), <-gone, s.Close())
	}
}

// socketPair makes two sockets that are connected: the first for our server, the second for
// the kernel.
func socketPair() (ours net.Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	f := os.NewFile(uintptr(fds[0]), "server's end")
	theirs = os.NewFile(uintptr(fds[1]), "kernel's end")
	unix.CloseOnExec(fds[0])
	unix.CloseOnExec(fds[1])
	ours, err = net.FileConn(f)
	if err = errors.Join(err, f.Close()); err != nil {
		return nil, nil, errors.Join(err, theirs.Close())
	}
	return ours, theirs, nil
}

// handOver shakes hands over the socket and gives it to the kernel.
func handOver(ctx context.Context, o *options, socket *os.File, e server.Export) (err error) {
	defer func() { err = errors.Join(err, socket.Close()) }() // the kernel has its own reference
	nc, err := net.FileConn(socket)
	if err != nil {
		return err
	}
	info, err := client.Handshake(ctx, nc, client.Config{Address: o.device, Export: e.Name, Replies: client.AskNothing})
	if err = errors.Join(err, nc.Close()); err != nil {
		return err
	}
	return kernel.Connect(o.device, []*os.File{socket}, info)
}

// detach is --disconnect.
func (t *tool) detach(device string) error {
	if _, err := os.Stat(device); err != nil {
		return cannotOpen("disconnect", "Cannot open "+device, err)
	}
	if err := kernel.Disconnect(device); err != nil {
		return err
	}
	fmt.Fprintf(t.stdout, "%s disconnected\n", device)
	return nil
}

// checkDevice makes sure that there is something to connect, before anything else is done.
func checkDevice(device string) error {
	f, err := os.OpenFile(device, os.O_RDWR, 0)
	if err != nil {
		return cannotOpen("connect", "Failed to open "+device, err)
	}
	return f.Close()
}

func cannotOpen(op, text string, err error) error {
	return &blockdev.Error{Op: op, Offset: blockdev.NoOffset, Text: text, Err: pathCause(err)}
}
