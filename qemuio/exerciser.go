package qemuio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// Config says where an Exerciser writes; nil drops it.
type Config struct {
	// Out receives results, and what is wrong with the arguments of a command.
	Out io.Writer
	// Err receives complaints about lines that are no commands.
	Err io.Writer
	// Console receives the part of info that depends on the format. A monitor shows it
	// to its user, while Out and Err are the streams of the whole program.
	Console io.Writer
	// Report receives messages about the disk, each a text without a line's end.
	Report func(text string)
	// Reopen opens what is in the drive again in another way; it may exchange the drive
	// for another. Without it an image can be switched between read-only and read-write.
	Reopen func(ctx context.Context, r Reopening) error
	// Misaligned makes requests use buffers that begin at no block's border, which O_DIRECT
	// cannot use: the drive has to copy them.
	Misaligned bool
}

// filled has somewhere to write everywhere.
func (c Config) filled() Config {
	for _, w := range []*io.Writer{&c.Out, &c.Err, &c.Console} {
		if *w == nil {
			*w = io.Discard
		}
	}
	if c.Report == nil {
		c.Report = func(string) {}
	}
	return c
}

// Exerciser runs commands on a drive, one at a time.
type Exerciser struct {
	config   Config
	commands []Command
	drive    *blockdev.Drive
	async    asyncSet
}

// New makes an Exerciser of d, which stays the caller's; nil for none until SetDrive.
func New(d *blockdev.Drive, c Config) *Exerciser {
	e := &Exerciser{config: c.filled(), drive: d}
	e.async.cond.L = &e.async.mu
	for _, group := range [][]Command{
		readCommands, writeCommands, asyncCommands, diskCommands, mapCommands, debugCommands, hostCommands, reopenCommands,
	} {
		e.commands = append(e.commands, group...)
	}
	e.Add(helpCommand)
	return e
}

// Drive is what commands work on, nil for none.
func (e *Exerciser) Drive() *blockdev.Drive { return e.drive }

// SetDrive changes it, when all requests of the old one have ended.
func (e *Exerciser) SetDrive(d *blockdev.Drive) {
	e.Wait()
	e.drive = d
}

// Run runs one command line: words between single spaces, without any quoting. What the
// command shows, also of its failure, is written when Run returns; an asynchronous one is
// not over then. See [Message] for the error's text.
func (e *Exerciser) Run(ctx context.Context, line string) error {
	words := strings.FieldsFunc(line, func(r rune) bool { return r == ' ' })
	if len(words) == 0 {
		return nil
	}
	err := e.dispatch(ctx, words)
	var f *failure
	if errors.As(err, &f) {
		f.show(e.config)
	}
	return err
}

func (e *Exerciser) dispatch(ctx context.Context, words []string) error {
	c := e.lookup(words[0])
	if c == nil {
		return complain(toErr, "command \"%s\" not found", words[0])
	}
	if e.drive == nil && !c.NoFile {
		return complain(toErr, "no file open, try 'help open'")
	}
	call, err := c.call(words)
	if err != nil {
		return err
	}
	if c.Writes && e.drive.Medium() != nil && e.drive.ReadOnly() {
		return wrap(toReport, "Block node is read-only", blockdev.ErrReadOnly)
	}
	if err := call.parse(e); err != nil {
		return err
	}
	return c.Run(ctx, e, call)
}

// Add adds a command, in place of one of that name.
func (e *Exerciser) Add(c Command) {
	for i := range e.commands {
		if e.commands[i].Name == c.Name {
			e.commands[i] = c
			return
		}
	}
	e.commands = append(e.commands, c)
}

func (e *Exerciser) lookup(word string) *Command {
	for i, c := range e.commands {
		if word == c.Name || word == c.Alias && word != "" {
			return &e.commands[i]
		}
	}
	return nil
}

func (e *Exerciser) printf(format string, args ...any) {
	fmt.Fprintf(e.config.Out, format, args...)
}

// SetConfig changes where the Exerciser writes, between two commands.
func (e *Exerciser) SetConfig(c Config) { e.config = c.filled() }

// Config is where the Exerciser writes.
func (e *Exerciser) Config() Config { return e.config }

// Names are those of the commands.
func (e *Exerciser) Names() []string {
	var out []string
	for _, c := range e.commands {
		out = append(out, c.Name)
	}
	return out
}
