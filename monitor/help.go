package monitor

import (
	"context"
	"fmt"
	"strings"
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
	topic := strings.TrimSpace(a.String("topic"))
	if topic == "" {
		for _, c := range t.below("") {
			s.Print(c.syntax())
		}
		return nil
	}
	words := strings.Fields(topic)
	c := t.find("", unquote(words[0]))
	if c == nil {
		return Verbatim("unknown command: '%s'", unquote(words[0]))
	}
	switch below := t.below(c.Name); {
	case len(below) == 0 || len(words) == 1 && len(below) > 0:
		return s.helpOn(c)
	}
	sub := t.find(c.Name, unquote(words[1]))
	if sub == nil {
		return Verbatim("unknown command: '%s %s'", c.Name, unquote(words[1]))
	}
	return s.helpOn(sub)
}

func unquote(word string) string { return strings.Trim(word, `"`) }

func (s *Session) helpOn(c *Command) error {
	if below := s.monitor.commands.below(c.Name); len(below) > 0 {
		for _, sub := range below {
			s.Print(sub.syntax())
		}
		return nil
	}
	if c.Name == "log" {
		s.listLogItems()
		return nil
	}
	s.Print(c.syntax())
	return nil
}

// infoHelp is info alone.
func infoHelp(_ context.Context, s *Session, _ Args) error {
	for _, c := range s.monitor.commands.below("info") {
		s.Print(c.syntax())
	}
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
