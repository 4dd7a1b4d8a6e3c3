package monitor

import (
	"context"
	"errors"

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
	return s.Do(func() {
		if m := s.Machine(); m.Running() {
			m.Stop(vm.StatePaused)
		}
	})
}

func cont(_ context.Context, s *Session, _ Args) (err error) {
	doErr := s.Do(func() {
		switch m := s.Machine(); m.State() {
		case vm.StateShutdown, vm.StateInternalError:
			err = errors.New("Resetting the Virtual Machine is required")
		default:
			m.Start()
		}
	})
	if doErr != nil {
		return doErr
	}
	return err
}

func quit(_ context.Context, s *Session, _ Args) error {
	s.quit()
	return nil
}

func systemReset(_ context.Context, s *Session, _ Args) error {
	return s.Do(func() {
		m := s.Machine()
		m.Reset("host-qmp-system-reset")
		if !m.Running() {
			m.Stop(vm.StatePrelaunch)
		}
	})
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
