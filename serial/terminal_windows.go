package serial

import (
	"os"
	"os/signal"

	"golang.org/x/sys/windows"
)

// terminalState is the mode of a console's input.
type terminalState = uint32

func getTerminal(fd int) (terminalState, error) {
	var mode uint32
	err := windows.GetConsoleMode(windows.Handle(fd), &mode)
	return mode, err
}

func setTerminal(fd int, mode terminalState) error {
	return windows.SetConsoleMode(windows.Handle(fd), mode)
}

// makeRaw has keys come as a Unix terminal sends them, one by one.
func makeRaw(mode terminalState, signal bool) terminalState {
	mode &^= windows.ENABLE_ECHO_INPUT | windows.ENABLE_LINE_INPUT | windows.ENABLE_PROCESSED_INPUT
	if signal {
		mode |= windows.ENABLE_PROCESSED_INPUT
	}
	return mode | windows.ENABLE_VIRTUAL_TERMINAL_INPUT
}

func notifySignals(c chan<- os.Signal) { signal.Notify(c, os.Interrupt) }

func stopSignals(c chan<- os.Signal) { signal.Stop(c) }

func handleSignal(s os.Signal, next func(os.Signal)) {
	RestoreTerminals()
	if next != nil {
		next(s)
		return
	}
	os.Exit(interrupted)
}

// interrupted is the exit status of a program that C-c ended (STATUS_CONTROL_C_EXIT cut
// to what a shell shows).
const interrupted = 130
