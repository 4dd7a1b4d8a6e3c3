package monitor

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"

	"github.com/fatih/color"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

const prompt = "(qemu) "

// Session is a console: a line editor, or just a place for output, and what is
// remembered between its commands. Commands get the session that runs them.
type Session struct {
	monitor *Monitor
	options SessionOptions
	editor  LineEditor // nil for Execute
	out     *bufio.Writer
	// terminal is set where a person can be at the other end, color if they like it.
	terminal, color bool

	cpu      int    // the processor that registers and addresses mean
	last     format // of x and print
	ended    bool   // quit was given
	failures atomic.Int64
	closed   atomic.Bool
}

func (s *Session) attach(e LineEditor, terminal bool) {
	s.editor = e
	s.terminal = terminal
	s.setOutput(e, terminal && s.options.Color && colorWanted())
}

func (s *Session) setOutput(w io.Writer, color bool) {
	s.out = bufio.NewWriter(w)
	s.color = color
}

// colorWanted asks the environment, as no-color.org and terminfo have it.
func colorWanted() bool {
	return os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
}

// run reads and executes commands until quit or Close. Where the input can end before
// that, it ends a script, and otherwise the next peer may come.
func (s *Session) run() {
	defer serial.RestoreOnPanic()
	for !s.ended {
		line, err := s.editor.ReadLine(prompt)
		switch {
		case s.closed.Load():
			return
		case err == nil:
			_ = s.execute(s.monitor.ctx, line) // counted and shown
		case !errors.Is(err, io.EOF), s.terminal:
			return
		case s.options.ExitStatus:
			s.quit()
		}
	}
}

// quit ends the machine.
func (s *Session) quit() {
	code := 0
	if s.options.ExitStatus && s.failures.Load() > 0 {
		code = 1
	}
	s.ended = true
	s.Machine().Quit(code, vm.ReasonHostQuit)
}

func (s *Session) close() error {
	s.closed.Store(true)
	return s.editor.Close()
}

// Failures counts the commands of this session that failed.
func (s *Session) Failures() int { return int(s.failures.Load()) }

// execute runs one line and shows what is wrong with it.
func (s *Session) execute(ctx context.Context, line string) error {
	s.monitor.executing.Lock()
	defer s.monitor.executing.Unlock()
	err := s.dispatch(ctx, line)
	if err != nil {
		s.failures.Add(1)
		s.showError(err)
	}
	_ = s.out.Flush() // a console that is gone is not the command's failure
	return err
}

// showError words an error as QEMU does.
func (s *Session) showError(err error) {
	var text string
	var as verbatim
	if errors.As(err, &as) {
		text = string(as)
	} else {
		text = "Error: " + blockdev.Message(err)
	}
	if text != "" {
		s.Println(s.paint(color.FgRed, text))
	}
}

// verbatim is an error that is shown without "Error: ".
type verbatim string

func (v verbatim) Error() string { return string(v) }

// Verbatim makes an error that is shown to the user as it is; nothing is shown of an empty
// one, which is for a command that has told already what is wrong. Any other error that a
// command returns is shown behind "Error: ".
func Verbatim(format string, args ...any) error { return verbatim(fmt.Sprintf(format, args...)) }

// paint colours text at a terminal.
func (s *Session) paint(a color.Attribute, text string) string {
	if !s.color {
		return text
	}
	c := color.New(a)
	c.EnableColor()
	return c.Sprint(text)
}

// heading is the first line of a table.
func (s *Session) heading(text string) { s.Println(s.paint(color.Bold, text)) }

// Printf, Print and Println show text at the console.
func (s *Session) Printf(format string, args ...any) { fmt.Fprintf(s.out, format, args...) }
func (s *Session) Print(text string)                 { fmt.Fprint(s.out, text) }
func (s *Session) Println(text string)               { fmt.Fprintln(s.out, text) }

// Machine is what the commands work on.
func (s *Session) Machine() *vm.Machine { return s.monitor.config.Machine }

// Do has fn executed on the machine's goroutine and waits for it.
func (s *Session) Do(fn func()) error { return s.Machine().Do(fn) }

// CPU is the session's current processor, nil if the machine has none.
func (s *Session) CPU() vm.CPU {
	cpus := s.Machine().CPUs()
	if s.cpu >= len(cpus) {
		return nil
	}
	return cpus[s.cpu]
}

// Drive finds a drive of the machine by name. The error has QEMU's words.
func (s *Session) Drive(name string) (*blockdev.Drive, error) {
	d, ok := s.Machine().Drives().Get(name)
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "", "", "Device '%s' not found", name)
	}
	return d, nil
}

// register is environment's: the value of $name.
func (s *Session) register(name string) (v uint64, ok bool) {
	c, has := s.CPU().(vm.RegisterDumper)
	if !has {
		return 0, false
	}
	if err := s.Do(func() { v, ok = c.Register(name) }); err != nil {
		return 0, false
	}
	return v, ok
}

// complain is environment's: QEMU prints it on its standard output.
func (s *Session) complain(text string) { fmt.Fprintln(s.monitor.config.Stdout, text) }
