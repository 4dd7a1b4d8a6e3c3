package monitor

import (
	"context"
	"errors"
	"slices"
	"strings"
)

// Command is a command of the console.
type Command struct {
	// Name is what is typed, "stop", or two words for a subcommand: "info block".
	Name string
	// Aliases can be typed instead of Name's last word.
	Aliases []string
	// Args says which arguments the command takes, in order, separated by spaces:
	//
	//	-f        a flag
	//	/fmt      a format such as /4xw, as x and print take it
	//	name:B    the name of a block device
	//	name:F    a file name
	//	name:s    a word, or anything in double quotes
	//	name:S    the rest of the line as it stands
	//	name:i    an expression whose value fits 32 bits
	//	name:l    an expression of 64 bits
	//	name:o    a size; a number alone counts MiB
	//	name:b    on or off
	//
	// A ? at the end makes an argument optional. A mistake in it panics when the command
	// is added.
	Args string
	// Params is what help shows of the arguments, "" to make it from Args.
	Params string
	// Help is one line on what the command does, without a full stop.
	Help string
	// Run does it. It is called on the console's goroutine, one command at a time, and
	// reaches the machine through Session.Do. Its output goes to the session; the error
	// is shown behind "Error: " (see Verbatim) and does not end the session.
	Run func(ctx context.Context, s *Session, a Args) error
	// Complete finds words for an argument that begins with prefix; nil leaves it to the
	// argument's type.
	Complete func(s *Session, argument, prefix string) []string

	params []param
	// explain, if set, is what help shows of the command instead of a line.
	explain func(*Session)
}

// fullName is the last word of the name with its aliases: "stop|s".
func (c *Command) fullName() string {
	words := strings.Fields(c.Name)
	return strings.Join(append(words[len(words)-1:], c.Aliases...), "|")
}

// parent is the word that a subcommand stands behind, "" for none.
func (c *Command) parent() string {
	parent, _, sub := strings.Cut(c.Name, " ")
	if !sub {
		return ""
	}
	return parent
}

// answers tells if the command is called word.
func (c *Command) answers(word string) bool {
	return slices.Contains(strings.Split(c.fullName(), "|"), word)
}

// table is a set of commands, sorted by name.
type table struct{ all []*Command }

// add puts a command in, in place of one of the same name.
func (t *table) add(c Command) {
	c.params = parseParams(c.Args)
	if c.Params == "" {
		var usage []string
		for _, p := range c.params {
			usage = append(usage, p.usage())
		}
		c.Params = strings.Join(usage, " ")
	}
	i, found := slices.BinarySearchFunc(t.all, c.Name, func(a *Command, name string) int {
		return strings.Compare(a.Name, name)
	})
	if found {
		t.all[i] = &c
		return
	}
	t.all = slices.Insert(t.all, i, &c)
}

// find looks a command up below a parent ("" for the top).
func (t *table) find(parent, word string) *Command {
	for _, c := range t.all {
		if c.parent() == parent && c.answers(word) {
			return c
		}
	}
	return nil
}

// below lists the commands of a parent.
func (t *table) below(parent string) []*Command {
	var out []*Command
	for _, c := range t.all {
		if c.parent() == parent {
			out = append(out, c)
		}
	}
	return out
}

// cutName splits off a command's name, which a format may follow at once: print/x.
func cutName(line string) (name, rest string) {
	line = strings.TrimLeft(line, " \t\r\n\v\f")
	i := strings.IndexAny(line, " \t\r\n\v\f/")
	if i < 0 {
		return line, ""
	}
	return line[:i], line[i:]
}

// lookup finds the command that a line begins with. typed is what of the line is its
// name, as it stands.
func (t *table) lookup(line string) (c *Command, typed, rest string, err error) {
	line = strings.TrimLeft(line, " \t\r\n\v\f")
	name, rest := cutName(line)
	c = t.find("", name)
	if c == nil {
		return nil, name, rest, Verbatim("unknown command: '%s'", name)
	}
	if below := t.below(c.Name); len(below) > 0 && strings.TrimSpace(rest) != "" {
		sub, after := cutName(rest)
		parent := c.Name
		typed = line[:len(line)-len(after)]
		if c = t.find(parent, sub); c == nil {
			return nil, typed, after, Verbatim("unknown command: '%s'", strings.TrimRight(typed, " \t"))
		}
		return c, typed, after, nil
	}
	return c, name, rest, nil
}

// dispatch finds, parses and runs a line.
func (s *Session) dispatch(ctx context.Context, line string) error {
	if strings.TrimSpace(line) == "" {
		return nil
	}
	c, typed, rest, err := s.monitor.commands.lookup(line)
	if err != nil {
		return err
	}
	in := scanner{rest: rest, env: s, name: c.fullName()}
	args, err := in.parse(c.params)
	var usage *usageError
	if errors.As(err, &usage) {
		return usage.explain(c, typed)
	}
	if err != nil {
		return err
	}
	err = c.Run(ctx, s, args)
	if errors.As(err, &usage) {
		return usage.explain(c, typed)
	}
	return err
}

// explain says what is wrong and where to read more.
func (e *usageError) explain(c *Command, typed string) error {
	text := e.text
	if e.named {
		text = c.fullName() + ": " + text
	}
	return Verbatim("%s\nTry \"help %s\" for more information", text, typed)
}
