// Command nbdextents prints what an NBD server tells about where a disk has data, and which
// parts its dirty bitmaps have marked:
//
//	qemu-nbd -r -A -B b0 -k /tmp/s disk.qcow2 &
//	go run ./examples/nbdextents nbd+unix://?socket=/tmp/s
package main

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/qmon/qmon/blockdev/nbd"
	"github.com/qmon/qmon/blockdev/nbd/client"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: nbdextents URI")
		os.Exit(1)
	}
	if err := printAll(context.Background(), os.Stdout, os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "nbdextents:", err)
		os.Exit(1)
	}
}

// printAll asks the server which metadata contexts the export has, and shows each.
func printAll(ctx context.Context, w io.Writer, uri string) error {
	config, err := nbd.Config(uri)
	if err != nil {
		return err
	}
	exports, err := client.List(ctx, config)
	if err != nil {
		return err
	}
	for _, e := range exports {
		if e.Info.Name == config.Export {
			config.Contexts = e.Contexts
		}
	}
	c, err := client.Connect(ctx, config)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }() // it was only read
	for _, name := range c.Contexts() {
		fmt.Fprintln(w, name)
		if err := printContext(w, c, name); err != nil {
			return err
		}
	}
	return nil
}

// printContext shows a context from the beginning of the disk to its end; what the flags
// mean is the context's business.
func printContext(w io.Writer, c *client.Client, name string) error {
	for off := int64(0); off < c.Size(); {
		extents, err := c.BlockStatus(name, off, c.Size()-off)
		if err != nil {
			return err
		}
		for _, e := range extents {
			fmt.Fprintf(w, "%12d %12d  %#x\n", off, e.Length, e.Flags)
			off += int64(e.Length)
		}
	}
	return nil
}
