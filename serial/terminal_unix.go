//go:build unix

package serial

import (
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/qmon/qmon/internal/signals"
)

type terminalState = unix.Termios

func getTerminal(fd int) (terminalState, error) {
	t, err := unix.IoctlGetTermios(fd, ioctlGetTermios)
	if err != nil {
		return terminalState{}, err
	}
	return *t, nil
}

func setTerminal(fd int, t terminalState) error {
	return unix.IoctlSetTermios(fd, ioctlSetTermios, &t)
}

// makeRaw switches off line editing and translation of the input. Output processing stays
// on, as in QEMU: a guest's bare line feed returns the carriage.
func makeRaw(t terminalState, signal bool) terminalState {
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP |
		unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag |= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.IEXTEN
	if !signal {
		t.Lflag &^= unix.ISIG
	}
	t.Cflag &^= unix.CSIZE | unix.PARENB
	t.Cflag |= unix.CS8
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	return t
}

// resumeTerminals undoes RestoreTerminals: the program goes on after a stop.
func resumeTerminals() {
	terminals.mu.Lock()
	defer terminals.mu.Unlock()
	for _, t := range terminals.list {
		_ = setTerminal(t.fd, t.raw)
	}
}

func notifySignals(c chan<- os.Signal) {
	signal.Notify(c, signals.Ending()...)
	signal.Notify(c, syscall.SIGQUIT, syscall.SIGTSTP, syscall.SIGCONT)
}

func stopSignals(c chan<- os.Signal) { signal.Stop(c) }

func handleSignal(s os.Signal, next func(os.Signal)) {
	switch {
	case s == syscall.SIGTSTP:
		RestoreTerminals()
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case s == syscall.SIGCONT:
		resumeTerminals()
	case next != nil:
		RestoreTerminals()
		next(s)
	default:
		RestoreTerminals()
		signal.Reset(s)
		_ = syscall.Kill(os.Getpid(), s.(syscall.Signal))
	}
}
