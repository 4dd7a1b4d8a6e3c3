// Package nbd is the command line of qemu-nbd: `qmon nbd ...`, or the program called as
// qemu-nbd.
//
//	argv -> options.go -> serve.go:  image -> export -> listen.go: socket -> clients
//	                   -> list.go:   -L, what another server has
//	                   -> fork_*.go: --fork, the same program again in the background
//	                   -> device_*.go: -c and -d, devices of the kernel's own client
//
// What NBD is lies in blockdev/nbd; here are options, messages and the life of a process.
package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all" // protocols
	_ "github.com/qmon/qmon/formats/all"  // formats
	"github.com/qmon/qmon/internal/objects"
	"github.com/qmon/qmon/internal/release"
	"github.com/qmon/qmon/internal/signals"
)

const (
	statusOK     = 0
	statusFailed = 1
)

// Main runs one command line and returns the exit status. prog is how messages call the
// program; args follow it.
func Main(prog string, args []string) int {
	ctx, stop := signals.Context()
	defer stop()
	t := &tool{prog: prog, stdout: os.Stdout, stderr: os.Stderr}
	return t.main(ctx, args)
}

// tool is one run of the program.
type tool struct {
	prog           string
	stdout, stderr io.Writer
	pidFile        *os.File // open, and locked, until the end; nil if there is none
}

func (t *tool) main(ctx context.Context, args []string) int {
	defer func() { _ = t.pidFile.Close() }() // it was written; closing nil does nothing
	o := newOptions()
	defer o.objects.Remove()
	err := o.parse(args)
	if err == nil {
		err = t.run(ctx, o)
	}
	usage, objectHelp := usageError{}, objects.Help("")
	switch {
	case err == nil:
		return statusOK
	case errors.Is(err, errHelp):
		fmt.Fprint(t.stdout, t.help())
		return statusOK
	case errors.As(err, &objectHelp):
		fmt.Fprint(t.stdout, objectHelp)
		return statusOK
	case errors.Is(err, errVersion):
		fmt.Fprintf(t.stdout, "qemu-nbd %s (behaviour followed by qmon %s)\n", release.QEMU, release.Version())
		return statusOK
	case errors.As(err, &usage):
		t.report(err)
		t.report(fmt.Errorf("Try `%s --help' for more information.", t.prog))
		return statusFailed
	}
	if !errors.Is(err, errReported) {
		t.report(err)
	}
	if errors.Is(err, errOperands) {
		fmt.Fprintf(t.stderr, "Try `%s --help' for more information.\n", t.prog)
	}
	return statusFailed
}

func (t *tool) run(ctx context.Context, o *options) error {
	if !isChild() {
		for _, w := range o.warnings {
			t.report(errors.New(w))
		}
	}
	switch {
	case o.disconnect:
		return t.detach(o.device)
	case o.list:
		return t.list(ctx, o)
	case o.device != "":
		if err := checkDevice(o.device); err != nil {
			return err
		}
	}
	if o.background() && !isChild() {
		return t.fork(ctx)
	}
	return t.serve(ctx, o)
}

func (t *tool) report(err error) {
	if two := (twoErrors{}); errors.As(err, &two) {
		t.report(two[0])
		err = two[1]
	}
	fmt.Fprintf(t.stderr, "%s: %s\n", t.prog, blockdev.Message(err))
}

// pathCause strips the path, which the message has already.
func pathCause(err error) error {
	var pe *os.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}
