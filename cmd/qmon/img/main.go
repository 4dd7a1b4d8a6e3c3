// Package img is the command line of qemu-img: `qmon img ...`, or the program called as
// qemu-img.
//
//	argv -> parseOptions -> a command's run -> call of the library img -> text, exit status
//
// A command is one file: its options, what it prints, and the statuses that it ends with.
// All that it does lies in the library.
package img

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all" // protocols
	_ "github.com/qmon/qmon/formats/all"  // formats
	"github.com/qmon/qmon/internal/objects"
	"github.com/qmon/qmon/internal/release"
	"github.com/qmon/qmon/internal/restrict"
	"github.com/qmon/qmon/internal/signals"
	"github.com/qmon/qmon/internal/traceopt"
)

// Exit statuses that all commands share.
const (
	statusOK     = 0
	statusFailed = 1
	// statusInterrupted is what a shell shows for a program that SIGINT ended.
	statusInterrupted = 130
)

// Main runs one command line and returns the exit status. prog is how messages call the
// program; args follow it.
func Main(prog string, args []string) int {
	ctx, stop := signals.Context()
	defer stop()
	t := &tool{ctx: ctx, prog: prog, stdout: os.Stdout, stderr: os.Stderr}
	return t.main(args)
}

// tool is one run of the program.
type tool struct {
	ctx            context.Context
	prog           string
	stdout, stderr io.Writer
	gate           switchGate
	objects        objects.Set // of --object
}

// switchGate follows references as --restrict says: everything, unless it is given before
// the command or among its options.
type switchGate struct{ blockdev.Gate }

// command is one of the program's.
type command struct {
	name   string
	syntax string
	// run returns an exit status; an error is printed and turns statusOK into statusFailed.
	run func(t *tool, args []string) (int, error)
}

// commands in the order help lists them.
var commands []command

func init() {
	commands = []command{
		{"amend", amendSyntax, runAmend},
		{"bench", benchSyntax, runBench},
		{"bitmap", bitmapSyntax, runBitmap},
		{"check", checkSyntax, runCheck},
		{"commit", commitSyntax, runCommit},
		{"compare", compareSyntax, runCompare},
		{"convert", convertSyntax, runConvert},
		{"create", createSyntax, runCreate},
		{"dd", ddSyntax, runDD},
		{"info", infoSyntax, runInfo},
		{"inspect", inspectSyntax, runInspect},
		{"map", mapSyntax, runMap},
		{"measure", measureSyntax, runMeasure},
		{"snapshot", snapshotSyntax, runSnapshot},
		{"rebase", rebaseSyntax, runRebase},
		{"resize", resizeSyntax, runResize},
	}
}

func (t *tool) main(args []string) int {
	defer t.objects.Remove()
	status, err := t.dispatch(args)
	objectHelp := objects.Help("")
	switch {
	case err == nil:
		return status
	case errors.As(err, &objectHelp):
		fmt.Fprint(t.stdout, objectHelp)
		return statusOK
	case errors.Is(err, errVersion):
		fmt.Fprint(t.stdout, versionText())
		return statusOK
	case errors.Is(err, errHelp):
		fmt.Fprint(t.stdout, t.help())
		return statusOK
	case t.ctx.Err() != nil:
		t.errorf("interrupted")
		return statusInterrupted
	}
	t.report(err)
	if u := (usageError{}); errors.As(err, &u) {
		fmt.Fprintf(t.stderr, "Try '%s --help' for more information\n", t.prog)
	}
	if status == statusOK {
		status = statusFailed
	}
	return status
}

// dispatch reads the options before the command, and runs it.
func (t *tool) dispatch(args []string) (int, error) {
	fs := t.commonFlagSet()
	fs.BoolP("version", "V", false, "")
	fs.VarP(funcValue(func(s string) error {
		warnings, err := traceopt.Parse(s)
		for _, w := range warnings {
			t.errorf("%s", w)
		}
		return err
	}), "trace", "T", "")
	args, err := parseOptions(fs, args, true)
	if err != nil {
		return statusFailed, err
	}
	if len(args) == 0 {
		return statusFailed, usagef("Not enough arguments")
	}
	if t.gate.Gate == nil {
		t.gate.Gate = blockdev.FollowGate{}
	}
	for _, c := range commands {
		if c.name == args[0] {
			return c.run(t, args[1:])
		}
	}
	return statusFailed, usagef("Command not found: %s", args[0])
}

// newFlagSet is a set of options with those that all commands have.
func (t *tool) newFlagSet() *pflag.FlagSet {
	fs := t.commonFlagSet()
	fs.Var(funcValue(t.objects.Define), "object", "")
	return fs
}

// commonFlagSet has the options that may stand before a command, too.
func (t *tool) commonFlagSet() *pflag.FlagSet {
	fs := pflag.NewFlagSet("", pflag.ContinueOnError)
	fs.SortFlags = false
	fs.BoolP("help", "h", false, "")
	fs.Var(funcValue(func(dir string) (err error) {
		t.gate.Gate, err = restrict.Gate(dir)
		return err
	}), "restrict", "")
	return fs
}

// report prints an error as QEMU words it.
func (t *tool) report(err error) {
	for _, text := range blockdev.Messages(err) {
		t.errorf("%s", text)
	}
}

func (t *tool) errorf(format string, args ...any) {
	fmt.Fprintf(t.stderr, "%s: %s\n", t.prog, fmt.Sprintf(format, args...))
}

func versionText() string {
	return fmt.Sprintf("qemu-img version %s (behaviour followed by qmon %s)\n", release.QEMU, release.Version())
}

func (t *tool) help() string {
	var b strings.Builder
	b.WriteString(versionText())
	fmt.Fprintf(&b, "usage: %s [-h] [-V] [--restrict dir] command [options]\n\nCommands:\n", t.prog)
	for _, c := range commands {
		if c.run != nil {
			fmt.Fprintf(&b, "  %s %s\n", c.name, c.syntax)
		}
	}
	b.WriteString(helpNotes)
	var names []string
	for _, d := range blockdev.Drivers() {
		names = append(names, d.Name)
	}
	fmt.Fprintf(&b, "\nSupported formats: %s\n", strings.Join(names, " "))
	return b.String()
}

const helpNotes = `
  fmt      a format's name; found by looking at the image where it is not given
  cache    none, writeback, writethrough, directsync or unsafe
  size     bytes, or with a suffix k, M, G, T, P, E: powers of 1024
  options  name=value,...; -o help lists what a format has
  snapshot a snapshot's ID or name, or snapshot.id=ID,snapshot.name=NAME

  --restrict     open no file that an image refers to outside of that directory
  --image-opts   the file name is a list of options: driver=qcow2,file.filename=a.qcow2
  -U             open images that others are writing to
  -p, -q         show progress; print errors only
  --output       human or json; for map also svg, a picture
`
