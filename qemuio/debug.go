package qemuio

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

var debugCommands = []Command{
	{
		Name: "break", Args: "event tag", Help: "sets a breakpoint on event and tags the stopped request as tag",
		MinArgs: 2, MaxArgs: 2, Run: setBreak,
	},
	{Name: "remove_break", Args: "tag", Help: "remove a breakpoint by tag", MinArgs: 1, MaxArgs: 1, Run: removeBreak},
	{Name: "resume", Args: "tag", Help: "resumes the request tagged as tag", MinArgs: 1, MaxArgs: 1, Run: resume},
	{Name: "wait_break", Args: "tag", Help: "waits for the suspension of a request", MinArgs: 1, MaxArgs: 1, Run: waitBreak},
}

// breaker is the topmost node on the way to the bytes that can suspend requests.
func (e *Exerciser) breaker() (blockdev.Breaker, error) {
	for v := e.drive.Medium(); v != nil; v = v.File() {
		if b, ok := v.Node.(blockdev.Breaker); ok {
			return b, nil
		}
	}
	return nil, blockdev.Errorf(blockdev.ErrNotSupported, "break", e.drive.Name(), "Operation not supported")
}

// breaking does something about a breakpoint; what says what if it fails.
func (e *Exerciser) breaking(what string, do func(b blockdev.Breaker) error) error {
	b, err := e.breaker()
	if err == nil {
		b.Announce(func(line string) { e.async.add(func() { e.printf("%s\n", line) }) })
		err = do(b)
	}
	e.async.reap()
	if err != nil {
		return requestFailed(what, err)
	}
	return nil
}

func setBreak(_ context.Context, e *Exerciser, c *Call) error {
	return e.breaking("Could not set breakpoint", func(b blockdev.Breaker) error {
		return b.SetBreakpoint(c.Args[0], c.Args[1])
	})
}

func removeBreak(_ context.Context, e *Exerciser, c *Call) error {
	return e.breaking("Could not remove breakpoint "+c.Args[0], func(b blockdev.Breaker) error {
		return b.RemoveBreakpoint(c.Args[0])
	})
}

func resume(_ context.Context, e *Exerciser, c *Call) error {
	return e.breaking("Could not resume request", func(b blockdev.Breaker) error { return b.Resume(c.Args[0]) })
}

// waitBreak waits until a request stands at the breakpoint. QEMU waits for ever where
// nothing can ever stop; here that is a failure.
func waitBreak(ctx context.Context, e *Exerciser, c *Call) error {
	return e.breaking("Could not wait for request", func(b blockdev.Breaker) error {
		return b.WaitSuspended(ctx, c.Args[0])
	})
}
