// Package signals knows which signals ask a program to end, and which do not.
package signals

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

// hangupIgnored is how the program was started: nohup(1) wants it to outlive its terminal.
// That is asked before anybody is notified, which forgets it.
var hangupIgnored = signal.Ignored(syscall.SIGHUP)

// Ending returns the signals that ask to end; SIGHUP is one unless it was ignored from the
// start.
func Ending() []os.Signal {
	s := []os.Signal{os.Interrupt, syscall.SIGTERM}
	if !hangupIgnored {
		s = append(s, syscall.SIGHUP)
	}
	return s
}

// IgnoreBrokenPipe has writes to a pipe or a terminal that nobody reads any more fail, where Go
// would end the program: "convert -p | head" is to leave a whole image, and "info | grep -q"
// status 0.
func IgnoreBrokenPipe() { signal.Ignore(syscall.SIGPIPE) }

// Context is done when the program is asked to end. A second signal ends it where it stands.
func Context() (ctx context.Context, stop context.CancelFunc) {
	ctx, stop = signal.NotifyContext(context.Background(), Ending()...)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}
