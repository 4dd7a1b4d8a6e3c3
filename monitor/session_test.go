package monitor_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/qmon/qmon/monitor"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
)

// run executes one line without a console.
func run(t *testing.T, m *monitor.Monitor, line string) string {
	t.Helper()
	var out bytes.Buffer
	m.Execute(t.Context(), &out, line)
	return out.String()
}

func TestErrorMessages(t *testing.T) {
	var stdout bytes.Buffer
	mon := monitor.New(monitor.Config{Machine: startMachine(t, vm.Config{}), Stdout: &stdout})
	defer mon.Close()
	more := func(topic string) string { return fmt.Sprintf("Try \"help %s\" for more information\n", topic) }
	for _, c := range []struct{ line, want string }{
		{"foo bar", "unknown command: 'foo'\n"},
		{"sto", "unknown command: 'sto'\n"},
		{"INFO status", "unknown command: 'INFO'\n"},
		{"# comment", "unknown command: '#'\n"},
		{"stop;cont", "unknown command: 'stop;cont'\n"},
		{"info foo bar", "unknown command: 'info foo'\n"},
		{"info help", "unknown command: 'info help'\n"},
		{`info "status"`, "unknown command: 'info \"status\"'\n"},
		{"help nosuch", "unknown command: 'nosuch'\n"},
		{"help info nosuch", "unknown command: 'info nosuch'\n"},
		{"info  status", "VM status: paused (prelaunch)\n"},
		{"  info status ", "VM status: paused (prelaunch)\n"},
		{"   ", ""},
		{"info status x", "status: extraneous characters at the end of line\n" + more("info status")},
		{"info  status  x", "status: extraneous characters at the end of line\n" + more("info  status")},
		{"stop now", "stop|s: extraneous characters at the end of line\n" + more("stop")},
		{"c 1", "cont|c: extraneous characters at the end of line\n" + more("c")},
		{"stop/x", "stop|s: extraneous characters at the end of line\n" + more("stop")},
		{"info block -z", "block: unsupported option -z\n" + more("info block")},
		{`info block "d`, "block: block device name expected\n" + more("info block")},
		{"p 1/0", "division by zero\n" + more("p")},
		{"p $pc", "unknown register\n" + more("p")},
		{"info registers 0x100000000", "'registers' has failed: integer is for 32-bit values\n" + more("info registers")},
		{"info registers", "No CPU available\n"},
		{"cpu 0", "invalid CPU index\n"},
		{"eject nosuch", "Error: Device 'nosuch' not found\n"},
		{"change nosuch x", "Error: Device 'nosuch' not found\n"},
		{"commit nosuch", "Device 'nosuch' not found\n"},
		{"drive_del nosuch", "Device 'nosuch' not found\n"},
		{"block_resize nosuch 1M", "Error: Cannot find device='nosuch' nor node-name=''\n"},
		{"logfile /nosuchdir/x", "Error opening logfile /nosuchdir/x: No such file or directory\n"},
		{"log none", ""},
	} {
		if got := run(t, mon, c.line); got != c.want {
			t.Errorf("%q gave %q, want %q", c.line, got, c.want)
		}
	}
	if got := stdout.String(); got != "unterminated string\n" {
		t.Errorf("%q on standard output", got)
	}
}

func TestRunState(t *testing.T) {
	mon := monitor.New(monitor.Config{Machine: startMachine(t, vm.Config{})})
	defer mon.Close()
	for _, c := range []struct{ line, want string }{
		{"stop", "paused (prelaunch)"},
		{"cont", "running"},
		{"s", "paused"},
		{"stop", "paused"},
		{"c", "running"},
		{"system_reset", "running"},
		{"stop", "paused"},
		{"system_reset", "paused (prelaunch)"},
	} {
		run(t, mon, c.line)
		if got := run(t, mon, "info status"); got != "VM status: "+c.want+"\n" {
			t.Errorf("after %s: %s", c.line, got)
		}
	}
}

// A script's outcome is the exit status only if that was asked for, and the end of the
// input is the end of a script.
func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		script string
		asked  bool
		hangUp bool
		want   int
	}{
		{"info status\nquit\n", true, false, 0},
		{"nosuch\ninfo status\nquit\n", true, false, 1},
		{"nosuch\nquit\n", false, false, 0},
		{"nosuch\ninfo status\n", true, true, 1},
		{"info status\n", true, true, 0},
	} {
		m := vm.New(vm.Config{})
		mon := monitor.New(monitor.Config{Machine: m})
		w := newWire()
		if _, err := mon.Attach(w, monitor.SessionOptions{ExitStatus: c.asked}); err != nil {
			t.Fatal(err)
		}
		w.enter(c.script)
		if c.hangUp {
			w.hangUp()
		}
		var quit *vm.QuitError
		if err := m.Run(t.Context()); !errors.As(err, &quit) || quit.Code != c.want {
			t.Errorf("%q, asked %v: ended with %v, code %d, want %d", c.script, c.asked, err, quit.Code, c.want)
		}
		mon.Close()
	}
}

func TestCommandsOfAnEmbedder(t *testing.T) {
	mon := monitor.New(monitor.Config{Machine: startMachine(t, vm.Config{})})
	defer mon.Close()
	mon.AddCommand(monitor.Command{
		Name: "info weather", Aliases: []string{"sky"}, Args: "-c days:i? place:s?",
		Help: "tell what it is like outside",
		Run: func(_ context.Context, s *monitor.Session, a monitor.Args) error {
			if a.Int("days") > 3 {
				return fmt.Errorf("nobody knows the weather in %d days", a.Int("days"))
			}
			s.Printf("%s: %t in %d\n", a.String("place"), a.Flag("c"), a.Int("days"))
			return nil
		},
	})
	for _, c := range []struct{ line, want string }{
		{`info weather -c 1+1 "far away"`, "far away: true in 2\n"},
		{"info sky", ": false in 0\n"},
		{"info sky 4", "Error: nobody knows the weather in 4 days\n"},
		{"help info weather", "info weather|sky [-c] [days] [place] -- tell what it is like outside\n"},
	} {
		if got := run(t, mon, c.line); got != c.want {
			t.Errorf("%q gave %q, want %q", c.line, got, c.want)
		}
	}
}

func TestEveryCommandHasHelp(t *testing.T) {
	mon := monitor.New(monitor.Config{Machine: startMachine(t, vm.Config{})})
	defer mon.Close()
	all := run(t, mon, "help") + run(t, mon, "info")
	if run(t, mon, "?") != run(t, mon, "help") || run(t, mon, "help info") != run(t, mon, "info") {
		t.Error("help differs by its name")
	}
	for _, line := range strings.Split(strings.TrimSpace(all), "\n") {
		syntax, sentence, _ := strings.Cut(line, " -- ")
		if sentence == "" {
			t.Errorf("no help: %s", line)
		}
		name, _, _ := strings.Cut(syntax, " ")
		name, _, _ = strings.Cut(name, "|")
		if name == "info" || name == "log" {
			continue
		}
		if got := run(t, mon, "help "+name); got != line+"\n" {
			t.Errorf("help %s gave %q, want %q", name, got, line)
		}
	}
	if got := run(t, mon, "help savevm foo"); !strings.HasPrefix(got, "savevm tag -- ") {
		t.Errorf("help savevm foo gave %q", got)
	}
}

// Two consoles take turns; neither sees the other's output.
func TestConsolesAreApart(t *testing.T) {
	m := startMachine(t, vm.Config{Name: "box"})
	mon := monitor.New(monitor.Config{Machine: m})
	defer mon.Close()
	done := make(chan error)
	for range 2 {
		w := newWire()
		if _, err := mon.Attach(w, monitor.SessionOptions{}); err != nil {
			t.Fatal(err)
		}
		go func() {
			w.until(prompt)
			for i := range 100 {
				line := fmt.Sprintf("print/d %d", i)
				w.enter(line + "\n")
				if got, want := w.until(prompt), fmt.Sprintf("%s\n%d\n%s", line, i, prompt); got != want {
					done <- fmt.Errorf("%q, want %q", got, want)
					return
				}
			}
			done <- nil
		}()
	}
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestColorOnlyAtATerminal(t *testing.T) {
	for _, c := range []struct {
		name            string
		terminal, asked bool
		columns         int
		noColor         string
		want            bool
	}{
		{"terminal", true, true, 80, "", true},
		{"NO_COLOR", true, true, 80, "1", false},
		{"not asked", true, false, 80, "", false},
		{"socket", true, true, 0, "", false},
		{"pipe", false, true, 0, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NO_COLOR", c.noColor)
			t.Setenv("TERM", "vt100")
			mon := monitor.New(monitor.Config{Machine: startMachine(t, vm.Config{})})
			defer mon.Close()
			w := newWire()
			w.terminal, w.columns = c.terminal, c.columns
			if _, err := mon.Attach(w, monitor.SessionOptions{Color: c.asked}); err != nil {
				t.Fatal(err)
			}
			w.until(prompt)
			w.enter("nosuch" + w.lineEnd())
			text := w.until("command: 'nosuch'")
			if got := strings.Contains(text, "\x1b[31m"); got != c.want {
				t.Errorf("colour is %v in %q", got, text)
			}
		})
	}
}

// A console whose input has ended is silent until somebody comes again.
func TestNextPeer(t *testing.T) {
	mon := monitor.New(monitor.Config{Machine: startMachine(t, vm.Config{})})
	w := newWire()
	if _, err := mon.Attach(w, monitor.SessionOptions{}); err != nil {
		t.Fatal(err)
	}
	w.until(prompt)
	w.enter("print 1\n")
	w.hangUp()
	w.until(prompt)
	w.front.Event(serial.EventOpened)
	greeting := "QEMU 7.2.22 monitor - type 'help' for more information\n" + prompt
	if got := w.until(prompt); got != greeting {
		t.Errorf("greeted with %q, want %q", got, greeting)
	}
	w.enter("print 2\n")
	if got, want := w.until(prompt), "print 2\n0x2\n"+prompt; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	mon.Close()
	if rest := w.got.String(); rest != "" {
		t.Errorf("%q came at the end", rest)
	}
}
