package monitor

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/qmon/qmon/vm"
)

var cpuCommands = []Command{
	{Name: "cpu", Args: "index:i", Help: "choose the processor that other commands look at", Run: chooseCPU},
	{Name: "info cpus", Help: "list the processors", Run: infoCPUs},
	{
		Name: "info registers", Args: "-a vcpu:i?", Params: "[-a|vcpu]",
		Help: "show the registers of a processor (-a: of all)", Run: infoRegisters,
	},
}

func chooseCPU(_ context.Context, s *Session, a Args) error {
	index := a.Int("index")
	if index < 0 || index >= int64(len(s.Machine().CPUs())) {
		return Verbatim("invalid CPU index")
	}
	s.cpu = int(index)
	return nil
}

// infoRegisters shows the registers of one processor or of all.
func infoRegisters(_ context.Context, s *Session, a Args) error {
	cpus := s.Machine().CPUs()
	first, last := s.cpu, s.cpu
	switch {
	case a.Flag("a"):
		first, last = 0, len(cpus)-1
	case a.Has("vcpu"):
		first = int(a.Int("vcpu"))
		last = first
		if first >= len(cpus) {
			return Verbatim("CPU#%d not available", first)
		}
	case len(cpus) == 0:
		return Verbatim("No CPU available")
	}
	for i := first; i <= last; i++ {
		text, err := s.registers(cpus[i])
		if err != nil {
			return err
		}
		s.Printf("\nCPU#%d\n%s", i, text)
	}
	return nil
}

func (s *Session) registers(c vm.CPU) (text string, err error) {
	err = s.Do(func() {
		if d, ok := c.(vm.RegisterDumper); ok {
			text = d.DumpRegisters()
		} else {
			text = fmt.Sprintf(" pc       %016x\n", c.PC())
		}
	})
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	return text, err
}

// infoCPUs lists the processors, the session's current one with a star. They all run on
// one thread of this process.
func infoCPUs(_ context.Context, s *Session, _ Args) error {
	for i := range s.Machine().CPUs() {
		s.Printf("%s CPU #%d: thread_id=%d\n", choose(i == s.cpu, "*", " "), i, os.Getpid())
	}
	return nil
}
