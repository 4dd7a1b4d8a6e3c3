package server_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"os"
	"path/filepath"
	"time"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/file"
	"github.com/qmon/qmon/blockdev/nbd"
	"github.com/qmon/qmon/blockdev/nbd/client"
	"github.com/qmon/qmon/blockdev/nbd/protocol"
	"github.com/qmon/qmon/blockdev/nbd/server"
	_ "github.com/qmon/qmon/formats/qcow2"
)

// serveImage serves a qcow2 image on a socket until ctx ends.
func serveImage(ctx context.Context, image, socket string) error {
	g := &blockdev.Graph{}
	v, err := g.Open(ctx, image, blockdev.OpenOptions{Driver: "qcow2", Mode: blockdev.Mode{Writable: true}})
	if err != nil {
		return err
	}
	defer v.Unref()
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return server.Serve(ctx, l, server.Export{Name: "disk", Backend: server.FromNode(v.Node), Size: v.Node.Size()})
}

// printExtents tells where a remote export has data.
func printExtents(ctx context.Context, a nbd.Address, export string) error {
	c, err := client.Connect(ctx, client.Config{
		Dial: a.Dial, Address: a.String(), Export: export,
		Contexts: []string{protocol.ContextAllocation}, OpenTimeout: 10 * time.Second,
	})
	if err != nil {
		return err
	}
	defer c.Close()
	for off := int64(0); off < c.Size(); {
		extents, err := c.BlockStatus(protocol.ContextAllocation, off, c.Size()-off)
		if err != nil {
			return err
		}
		for _, e := range extents {
			fmt.Printf("%8d %8d  hole %-5v zero %v\n", off, e.Length, e.Flags&protocol.StateHole != 0, e.Flags&protocol.StateZero != 0)
			off += int64(e.Length)
		}
	}
	return nil
}

// A qcow2 image is served, and somebody else looks at where it has data.
func Example() {
	dir, err := os.MkdirTemp("", "nbd")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	ctx, stop := context.WithCancel(context.Background())
	image, socket := filepath.Join(dir, "disk.qcow2"), filepath.Join(dir, "s")
	if err := new(blockdev.Graph).Create(ctx, "qcow2", image, 8<<20, nil, blockdev.Reference{}); err != nil {
		log.Fatal(err)
	}
	served := make(chan error)
	go func() { served <- serveImage(ctx, image, socket) }()

	address := nbd.Address{Network: "unix", Path: socket}
	if err := writeSomething(ctx, address); err != nil {
		log.Fatal(err)
	}
	if err := printExtents(ctx, address, "disk"); err != nil {
		log.Fatal(err)
	}
	stop()
	fmt.Println(<-served)
	// Output:
	//        0  1048576  hole true  zero true
	//  1048576    65536  hole false zero false
	//  1114112  7274496  hole true  zero true
	// context canceled
}

func writeSomething(ctx context.Context, a nbd.Address) error {
	c, err := client.Connect(ctx, client.Config{Dial: a.Dial, Address: a.String(), Export: "disk", OpenTimeout: 10 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.WriteAt([]byte("data"), 1<<20); err != nil {
		return err
	}
	return c.Flush()
}
