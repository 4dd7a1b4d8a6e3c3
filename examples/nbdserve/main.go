// Command nbdserve serves a qcow2 image on a unix socket, for anything that speaks NBD:
//
//	go run ./examples/nbdserve disk.qcow2 /tmp/s &
//	nbdinfo nbd+unix:///disk?socket=/tmp/s
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/file"
	"github.com/qmon/qmon/blockdev/nbd/server"
	_ "github.com/qmon/qmon/formats/qcow2"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: nbdserve IMAGE SOCKET")
		os.Exit(1)
	}
	if err := serve(ctx, os.Args[1], os.Args[2]); err != nil && !errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "nbdserve:", err)
		os.Exit(1)
	}
}

// serve exports the image as "disk" until ctx ends.
func serve(ctx context.Context, image, socket string) (err error) {
	v, err := new(blockdev.Graph).Open(ctx, image, blockdev.OpenOptions{Driver: "qcow2", Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Unref()) }()
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return server.Serve(ctx, l, server.Export{Name: "disk", Backend: server.FromNode(v.Node), Size: v.Node.Size()})
}
