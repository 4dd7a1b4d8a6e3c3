package qemuio

import (
	"context"
	"fmt"

	"github.com/qmon/qmon/internal/getopt"
)

// Command is one of the language's words.
type Command struct {
	Name, Alias string
	// Args are shown behind the name in help and where the arguments are wrong.
	Args string
	// Help says in one line what it does, Details in more.
	Help, Details string
	// MinArgs and MaxArgs are how many words can follow the name, options counted; MaxArgs
	// Any for no limit.
	MinArgs, MaxArgs int
	// Options are letters as getopt takes them, "vP:"; without any, no word is an option.
	Options string
	// NoFile commands need no drive; Writes need one that can be written.
	NoFile, Writes bool
	Run            func(ctx context.Context, e *Exerciser, c *Call) error
}

// Any is MaxArgs without a limit.
const Any = -1

// Call is a command with its arguments.
type Call struct {
	Options []getopt.Found
	Args    []string

	command *Command
	name    string // as it was typed
}

// call counts the words behind the name.
func (c *Command) call(words []string) (*Call, error) {
	n := len(words) - 1
	if n >= c.MinArgs && (c.MaxArgs == Any || n <= c.MaxArgs) {
		return &Call{command: c, name: words[0], Args: words[1:]}, nil
	}
	switch {
	case c.MaxArgs == Any:
		return nil, complain(toErr, "bad argument count %d to %s, expected at least %d arguments", n, words[0], c.MinArgs)
	case c.MinArgs == c.MaxArgs:
		return nil, complain(toErr, "bad argument count %d to %s, expected %d arguments", n, words[0], c.MinArgs)
	}
	return nil, complain(toErr, "bad argument count %d to %s, expected between %d and %d arguments",
		n, words[0], c.MinArgs, c.MaxArgs)
}

// parse takes the options out of the arguments.
func (c *Call) parse(e *Exerciser) error {
	if c.command.Options == "" {
		return nil
	}
	var err error
	c.Options, c.Args, err = getopt.Parse(c.Args, getopt.Letters(c.command.Options))
	if err != nil {
		fmt.Fprintf(e.config.Err, "%s: %v\n", c.name, err)
		return c.Usage()
	}
	return nil
}

// Usage is the error of a call with too many or too few operands.
func (c *Call) Usage() error { return wrap(toOut, c.command.usage(c.command.Name), nil) }

// usage is the command in one line, under the name that it was asked for.
func (c *Command) usage(name string) string {
	if c.Args != "" {
		name += " " + c.Args
	}
	return fmt.Sprintf("%s -- %s", name, c.Help)
}
