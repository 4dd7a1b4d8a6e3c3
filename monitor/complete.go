package monitor

import (
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

// complete is a Completer: the words that fit in place of the last n bytes of line.
func (s *Session) complete(line string) (n int, words []string) {
	words = append(strings.Fields(line), "")
	if last := len(words) - 2; last >= 0 && strings.HasSuffix(line, words[last]) {
		words = words[:last+1]
	}
	prefix := words[len(words)-1]
	found := s.candidates(words[:len(words)-1], prefix)
	found = slices.DeleteFunc(found, func(w string) bool { return !strings.HasPrefix(w, prefix) })
	slices.Sort(found)
	return len(prefix), slices.Compact(found)
}

// candidates are words that can follow those before.
func (s *Session) candidates(before []string, prefix string) []string {
	t := &s.monitor.commands
	if len(before) == 0 {
		return names(t.below(""))
	}
	c := t.find("", before[0])
	if c == nil {
		return nil
	}
	before = before[1:]
	if c.Name == "help" {
		return t.topics(before)
	}
	if below := t.below(c.Name); len(below) > 0 {
		if len(before) == 0 {
			return names(below)
		}
		if c = t.find(c.Name, before[0]); c == nil {
			return nil
		}
		before = before[1:]
	}
	return s.argument(c, before, prefix)
}

// topics are what help can be asked about: a command, or the subcommand of one.
func (t *table) topics(before []string) []string {
	switch len(before) {
	case 0:
		return names(t.below(""))
	case 1:
		return names(t.below(before[0]))
	}
	return nil
}

func names(commands []*Command) []string {
	var out []string
	for _, c := range commands {
		out = append(out, strings.Split(c.fullName(), "|")...)
	}
	return out
}

// argument finds words for the argument of c that comes after those before.
func (s *Session) argument(c *Command, before []string, prefix string) []string {
	params := c.params
	for _, word := range before {
		params = after(params, word)
	}
	var out []string
	for len(params) > 0 && params[0].kind == kindFlag {
		if strings.HasPrefix(prefix, "-") {
			out = append(out, "-"+params[0].name)
		}
		params = params[1:]
	}
	if len(params) == 0 || len(out) > 0 {
		return out
	}
	p := params[0]
	if c.Complete != nil {
		if words := c.Complete(s, p.name, prefix); words != nil {
			return words
		}
	}
	switch p.kind {
	case kindDrive:
		return s.driveNames()
	case kindFile:
		return fileNames(prefix)
	case kindBoolean:
		return []string{"on", "off"}
	}
	return nil
}

// after drops the parameters that a word takes: flags that are not given, and one more.
func after(params []param, word string) []param {
	for i, p := range params {
		isFlag := p.kind == kindFlag
		if !isFlag || word == "-"+p.name {
			return params[i+1:]
		}
	}
	return nil
}

func (s *Session) driveNames() []string {
	var out []string
	for _, d := range s.Machine().Drives().All() {
		out = append(out, d.Name())
	}
	return out
}

// fileNames lists the files whose name begins with prefix, directories with a slash.
func fileNames(prefix string) []string {
	dir, _ := filepath.Split(prefix)
	entries, err := os.ReadDir(filepath.Clean(dir + "."))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		name := dir + e.Name()
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			name += "/"
		}
		out = append(out, name)
	}
	return out
}

func completeFile(_ *Session, _, prefix string) []string { return fileNames(prefix) }

func completeTag(s *Session, _, _ string) []string {
	var out []string
	for _, d := range s.Machine().Drives().All() {
		v := d.Medium()
		if v == nil {
			continue
		}
		if images, ok := v.Node.(blockdev.Snapshotter); ok {
			snapshots, _ := images.Snapshots()
			for _, snapshot := range snapshots {
				out = append(out, snapshot.Name)
			}
		}
	}
	return out
}

func completeCommit(s *Session, _, _ string) []string { return append(s.driveNames(), "all") }

func completeChange(_ *Session, argument, _ string) []string {
	switch argument {
	case "format":
		var out []string
		for _, d := range blockdev.Drivers() {
			if !d.Protocol {
				out = append(out, d.Name)
			}
		}
		return out
	case "read-only-mode":
		return []string{"retain", "read-only", "read-write"}
	}
	return nil
}

func completeLog(_ *Session, _, prefix string) []string {
	done := prefix[:strings.LastIndexByte(prefix, ',')+1]
	out := []string{done + "none"}
	for _, i := range vm.LogItems {
		out = append(out, done+i.Name)
	}
	return out
}
