package monitor

import (
	"context"

	"github.com/qmon/qmon/vm"
)

var runCommands = []Command{
	{Name: "stop", Aliases: []string{"s"}, Help: "hold the machine", Run: stop},
	{Name: "cont", Aliases: []string{"c"}, Help: "let the machine go on", Run: cont},
	{Name: "quit", Aliases: []string{"q"}, Help: "end the machine and this program", Run: quit},
	{Name: "system_reset", Help: "press the reset button", Run: systemReset},
	{Name: "system_powerdown", Help: "press the power button", Run: systemPowerdown},
	{Name: "info status", Help: "tell whether the machine runs", Run: infoStatus},
}

func stop(_ context.Context, s *Session, _ Args) error {
	return s.Do(func() { s.Machine().Stop(vm.StatePaused) })
}

func cont(_ context.Context, s *Session, _ Args) (err error) {
	if ended := s.Do(func() { err = s.Machine().Start() }); ended != nil {
		return ended
	}
	return err
}

func quit(_ context.Context, s *Session, _ Args) error {
	s.quit()
	return nil
}

func systemReset(_ context.Context, s *Session, _ Args) error {
	return s.Do(func() { s.Machine().SystemReset("host-qmp-system-reset") })
}

func systemPowerdown(_ context.Context, s *Session, _ Args) error {
	return s.Do(s.Machine().RequestPowerdown)
}

func infoStatus(_ context.Context, s *Session, _ Args) error {
	switch state := s.Machine().State(); state {
	case vm.StateRunning:
		s.Println("VM status: running")
	case vm.StatePaused:
		s.Println("VM status: paused")
	default:
		s.Printf("VM status: paused (%s)\n", state)
	}
	return nil
}
