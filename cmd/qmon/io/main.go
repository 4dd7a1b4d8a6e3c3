// Package io is the command line of qemu-io: `qmon io ...`, or the program called as
// qemu-io.
//
//	argv -> options -> open -> qemuio.Exerciser <- -c "read 0 512", or a prompt
//
// What the commands do lies in package qemuio; here are those that open and close files.
package io

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/qmon/qmon/blockdev"
	_ "github.com/qmon/qmon/blockdev/all" // protocols
	_ "github.com/qmon/qmon/formats/all"  // formats
	"github.com/qmon/qmon/internal/objects"
	"github.com/qmon/qmon/internal/release"
	"github.com/qmon/qmon/internal/signals"
	"github.com/qmon/qmon/internal/warning"
	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/qemuio"
	"github.com/qmon/qmon/serial"
)

const (
	statusOK     = 0
	statusFailed = 1
	// statusInterrupted is what a shell shows for a program that SIGINT ended.
	statusInterrupted = 130
)

const prompt = "qemu-io> "

// Main runs one command line and returns the exit status. prog is how messages call the
// program; args follow it.
// A signal that asks it to end does so after the present command, with the images closed.
func Main(prog string, args []string) int {
	ctx, stop := signals.Context()
	defer stop()
	t := &tool{ctx: ctx, prog: prog, stdin: os.Stdin, stdout: newOutput(os.Stdout), stderr: os.Stderr}
	defer qemuio.Flush(t.stdout)
	t.edit = term.IsTerminal(int(os.Stdin.Fd()))
	return t.main(args)
}

// tool is one run of the program.
type tool struct {
	ctx            context.Context
	prog           string
	stdin          io.Reader
	stdout, stderr io.Writer
	edit           bool // lines are typed at a terminal

	graph     blockdev.Graph
	exerciser *qemuio.Exerciser
	gate      blockdev.Gate
	opened    openFlags // what is in the exerciser's drive, and how
	ended     bool      // quit was given
	describe  bool      // what is opened is told by a list of options
}

func (t *tool) main(args []string) int {
	o := &invocation{openFlags: newFlags(), gate: blockdev.FollowGate{}}
	defer o.objects.Remove()
	err := o.parse(args)
	for _, w := range o.warnings {
		t.report(errors.New(w))
	}
	objectHelp := objects.Help("")
	switch {
	case errors.As(err, &objectHelp):
		fmt.Fprint(t.stdout, objectHelp)
		return statusOK
	case errors.Is(err, errHelp):
		fmt.Fprint(t.stdout, t.help())
		return statusOK
	case errors.Is(err, errVersion):
		fmt.Fprintf(t.stdout, "qemu-io version %s (behaviour followed by qmon %s)\n", release.QEMU, release.Version())
		return statusOK
	case errors.Is(err, errUsage):
		t.report(err)
		fmt.Fprint(t.stdout, t.help())
		return statusFailed
	case err != nil:
		t.report(err)
		return statusFailed
	}
	t.exerciser = qemuio.New(nil, qemuio.Config{
		Out: t.stdout, Err: t.stderr, Console: t.stdout,
		Report: func(text string) { fmt.Fprintf(t.stderr, "%s: %s\n", t.prog, text) },
		Reopen: t.reopen, Misaligned: o.misaligned,
	})
	t.graph.Notify = warning.Printer(t.stderr, t.prog)
	t.gate, t.describe = o.gate, o.describe
	t.addCommands()
	if o.filename != nil {
		if err := t.open(t.ctx, o.openFlags); err != nil {
			t.report(err)
			return statusFailed
		}
	}
	status := t.run(o.commands)
	if t.ctx.Err() != nil {
		status = statusInterrupted
	}
	t.exerciser.Wait()
	if err := t.close(); err != nil {
		t.report(err)
		status = statusFailed
	}
	return status
}

// report prints an error behind the program's name, each of several on its own.
func (t *tool) report(err error) {
	for _, text := range blockdev.Messages(err) {
		if text != "" {
			fmt.Fprintf(t.stderr, "%s: %s\n", t.prog, text)
		}
	}
}

// run runs the commands, or those that are typed if there are none.
func (t *tool) run(commands []string) int {
	status := statusOK
	do := func(line string) {
		if t.exerciser.Run(t.ctx, line) != nil {
			status = statusFailed
		}
	}
	for _, c := range commands {
		if t.over() {
			return status
		}
		do(c)
	}
	if len(commands) > 0 {
		return status
	}
	if err := t.prompt(do); err != nil {
		t.report(err)
		return statusFailed
	}
	return status
}

// over tells if nothing more is to be done: quit was given, or a signal came.
func (t *tool) over() bool { return t.ended || t.ctx.Err() != nil }

// prompt reads lines until their end, or quit, or a signal.
func (t *tool) prompt(do func(line string)) error {
	if t.edit {
		return t.promptTerminal(do)
	}
	in := bufio.NewReader(t.stdin)
	for !t.over() {
		fmt.Fprint(t.stdout, prompt)
		qemuio.Flush(t.stdout)
		line, err := t.readLine(in)
		switch {
		case err == nil, line != "" && errors.Is(err, io.EOF):
			do(strings.TrimSuffix(line, "\n"))
		case errors.Is(err, io.EOF):
			return nil
		default:
			return err
		}
	}
	return nil
}

// readLine reads a line, or gives up when a signal comes: the read is left behind then, as
// nothing but input ends it.
func (t *tool) readLine(in *bufio.Reader) (string, error) {
	type result struct {
		line string
		err  error
	}
	c := make(chan result, 1)
	go func() {
		line, err := in.ReadString('\n')
		c <- result{line, err}
	}()
	select {
	case r := <-c:
		return r.line, r.err
	case <-t.ctx.Done():
		return "", io.EOF
	}
}

// promptTerminal is prompt with line editing.
func (t *tool) promptTerminal(do func(line string)) (err error) {
	console, err := serial.Open(serial.Config{ID: "stdio", Kind: serial.KindStdio, Signal: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, console.Close()) }()
	editor, err := monitor.NewLineEditor(console, monitor.EditorConfig{Complete: t.complete, EndKey: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, editor.Close()) }()
	t.exerciser.SetConfig(qemuio.Config{
		Out: editor, Err: editor, Console: editor,
		Report: func(text string) { fmt.Fprintf(editor, "%s: %s\n", t.prog, text) },
		Reopen: t.reopen, Misaligned: t.exerciser.Config().Misaligned,
	})
	defer context.AfterFunc(t.ctx, func() { _ = editor.Close() })()
	for !t.over() {
		line, err := editor.ReadLine(prompt)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		do(line)
	}
	return nil
}

// complete finds the commands that begin with line.
func (t *tool) complete(line string) (n int, words []string) {
	for _, name := range t.exerciser.Names() {
		if strings.HasPrefix(name, line) {
			words = append(words, name)
		}
	}
	return len(line), words
}
