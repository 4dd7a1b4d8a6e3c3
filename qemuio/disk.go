package qemuio

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/qmon/qmon/blockdev"
)

var diskCommands = []Command{
	{Name: "flush", Alias: "f", Help: "flush all in-core file state to disk", Run: flush},
	{
		Name: "truncate", Alias: "t", Args: "[-m prealloc_mode] off",
		Help:    "truncates the current file at the given offset",
		MinArgs: 1, MaxArgs: 3, Options: "m:", Writes: true, Run: truncate,
	},
	{Name: "length", Alias: "l", Help: "gets the length of the current file", Run: length},
	{
		Name: "discard", Alias: "d", Args: "[-Cq] off len",
		Help: "discards a number of bytes at a specified offset", Details: discardDetails,
		MinArgs: 2, MaxArgs: Any, Options: "Cq", Writes: true, Run: discard,
	},
}

func flush(_ context.Context, e *Exerciser, _ *Call) error {
	err := e.drive.Flush()
	e.async.reap()
	return err
}

// preallocations are the words of truncate -m.
var preallocations = []string{"off", "metadata", "falloc", "full"}

func truncate(_ context.Context, e *Exerciser, c *Call) error {
	o := blockdev.ResizeOptions{Shrink: true}
	for _, given := range c.Options {
		if !slices.Contains(preallocations, given.Value) {
			return complain(toReport, "Invalid preallocation mode '%s'", given.Value)
		}
		o.Preallocation = given.Value
	}
	if len(c.Args) != 1 {
		return c.Usage()
	}
	n, err := size(c.Args[0])
	if err != nil {
		return err
	}
	err = e.drive.ResizeWith(n, o)
	if errors.Is(err, blockdev.ErrNoMedium) {
		return wrap(toReport, "No medium inserted", err)
	}
	if err != nil {
		return wrap(toReport, blockdev.Message(err), err)
	}
	return nil
}

func length(_ context.Context, e *Exerciser, _ *Call) error {
	n, err := e.drive.Size()
	if err != nil {
		return wrap(toOut, "getlength: "+Message(err), err)
	}
	e.printf("%s\n", formatSize(float64(n)))
	return nil
}

func discard(_ context.Context, e *Exerciser, c *Call) error {
	var s statistics
	for _, o := range c.Options {
		s.option(o.Letter)
	}
	if len(c.Args) != 2 {
		return c.Usage()
	}
	off, n, err := c.span()
	switch {
	case err != nil:
		return err
	case n > maxRequest:
		return complain(toOut, "length cannot exceed %d, given %s", maxRequest, c.Args[1])
	}
	start := time.Now()
	err = e.drive.Discard(off, n)
	took := time.Since(start)
	e.async.reap()
	if err != nil {
		return requestFailed("discard failed", err)
	}
	e.show(s, result{"discard", off, n, took})
	return nil
}
