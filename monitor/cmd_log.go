package monitor

import (
	"context"
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

var logCommands = []Command{
	{
		Name: "log", Args: "items:s", Params: "item1[,...]",
		Help: "choose what is written to the log", Run: setLog, Complete: completeLog, explain: (*Session).listLogItems,
	},
	{Name: "logfile", Args: "filename:F", Help: "write the log to a file", Run: setLogFile},
}

func isLogItem(name string) bool {
	for _, i := range vm.LogItems {
		if i.Name == name {
			return true
		}
	}
	return name == "all"
}

// setLog switches on the named items; with a name that is none, it fails and lists them.
func setLog(_ context.Context, s *Session, a Args) error {
	names := strings.Split(a.String("items"), ",")
	names = slices.DeleteFunc(names, func(n string) bool { return n == "none" || n == "" })
	for _, n := range names {
		if !isLogItem(n) {
			s.listLogItems()
			return Verbatim("")
		}
	}
	return s.Machine().Log().Enable(names)
}

func (s *Session) listLogItems() {
	s.Println("Log items (comma separated):")
	s.Printf("%-15s %s\n", "none", "log nothing")
	for _, i := range vm.LogItems {
		s.Printf("%-15s %s\n", i.Name, i.Help)
	}
}

func setLogFile(_ context.Context, s *Session, a Args) error {
	name := a.String("filename")
	if err := s.Machine().Log().SetFile(name); err != nil {
		return Verbatim("Error opening logfile %s: %s", name, blockdev.Message(err))
	}
	return nil
}
