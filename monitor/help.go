package monitor

import (
	"context"
	"fmt"
)

var helpCommands = []Command{
	{
		Name: "help", Aliases: []string{"?"}, Args: "topic:S?", Params: "[cmd]",
		Help: "list the commands, or tell about one", Run: help,
	},
	{
		Name: "info", Params: "[subcommand]",
		Help: "look at something of the machine", Run: infoHelp,
	},
}

// help shows the syntax of all commands, or of the one that is asked for. What follows
// the name does not matter, so that help can be put in front of a whole line.
func help(_ context.Context, s *Session, a Args) error {
	t := &s.monitor.commands
	words := scanner{rest: a.String("topic"), env: s}
	name, given := words.word()
	if !given {
		for _, c := range t.below("") {
			s.Print(c.syntax())
		}
		return nil
	}
	c := t.find("", name)
	if c == nil {
		return Verbatim("unknown command: '%s'", name)
	}
	sub, given := words.word()
	if !given || len(t.below(c.Name)) == 0 {
		s.explain(c)
		return nil
	}
	if c = t.find(c.Name, sub); c == nil {
		return Verbatim("unknown command: '%s %s'", name, sub)
	}
	s.explain(c)
	return nil
}

// explain shows a command's syntax, or those of its subcommands.
func (s *Session) explain(c *Command) {
	below := s.monitor.commands.below(c.Name)
	for _, sub := range below {
		s.Print(sub.syntax())
	}
	switch {
	case c.explain != nil:
		c.explain(s)
	case len(below) == 0:
		s.Print(c.syntax())
	}
}

// infoHelp is info alone.
func infoHelp(_ context.Context, s *Session, _ Args) error {
	s.explain(s.monitor.commands.find("", "info"))
	return nil
}

// syntax is a command's entry in help.
func (c *Command) syntax() string {
	name := c.fullName()
	if c.parent() != "" {
		name = c.parent() + " " + name
	}
	return fmt.Sprintf("%s %s -- %s\n", name, c.Params, c.Help)
}
