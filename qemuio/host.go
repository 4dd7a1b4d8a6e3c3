package qemuio

import (
	"context"
	"io"
	"time"
)

var hostCommands = []Command{
	{Name: "abort", Help: "simulate a program crash using abort(3)", NoFile: true, Run: abort},
	{
		Name: "sigraise", Args: "signal", Help: "raises a signal", Details: sigraiseDetails,
		MinArgs: 1, MaxArgs: 1, NoFile: true, Run: sigraise,
	},
	{
		Name: "sleep", Help: "waits for the given value in milliseconds",
		MinArgs: 1, MaxArgs: 1, NoFile: true, Run: sleep,
	},
}

// maxSignal is the largest number of a signal, Linux's.
const maxSignal = 64

func abort(_ context.Context, e *Exerciser, _ *Call) error {
	Flush(e.config.Out)
	return raiseAbort()
}

// Flush shows what w keeps back, if it is a buffer.
func Flush(w io.Writer) {
	if b, ok := w.(interface{ Flush() error }); ok {
		_ = b.Flush() // as with every write of text: who does not read does not miss it
	}
}

func sigraise(_ context.Context, e *Exerciser, c *Call) error {
	n, err := size(c.Args[0])
	switch {
	case err != nil:
		return err
	case n > maxSignal:
		return complain(toOut, "signal argument '%s' is too large to be a valid signal", c.Args[0])
	}
	Flush(e.config.Out)
	if err := raise(int(n)); err != nil {
		return wrap(toReport, err.Error(), err)
	}
	return nil
}

// sleep waits, while asynchronous requests go on.
func sleep(ctx context.Context, e *Exerciser, c *Call) error {
	n, ok := integer(c.Args[0])
	if !ok || n > int64(1<<63-1)/int64(time.Millisecond) {
		return complain(toOut, "%s is not a valid number", c.Args[0])
	}
	select {
	case <-time.After(time.Duration(n) * time.Millisecond):
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	e.async.reap()
	return nil
}
