package monitor

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/qmon/qmon/serial"
)

// scenario is a recorded session with QEMU at a terminal (testdata/golden/README.md).
type scenario struct {
	Name  string
	Kind  string
	Setup []string
	Steps []struct{ In, Out string }
}

func readScenarios(t *testing.T) []scenario {
	t.Helper()
	f, err := os.Open("../testdata/golden/mux.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []scenario
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var s scenario
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			t.Fatal(err)
		}
		if s.Kind == "pty" {
			all = append(all, s)
		}
	}
	if err := lines.Err(); err != nil || len(all) == 0 {
		t.Fatalf("%d scenarios, %v", len(all), err)
	}
	return all
}

// deafGuest is a guest that takes what is typed and says nothing.
type deafGuest struct{ got []byte }

func (g *deafGuest) Receive(p []byte) int {
	g.got = append(g.got, p...)
	return len(p)
}

func (g *deafGuest) Event(serial.Event) {}

// recordedAnswers is a monitor of few words: those of the recorded sessions.
func recordedAnswers(line string) string {
	name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	switch {
	case line == "info status":
		return "VM status: paused (prelaunch)\n"
	case name == "savevm":
		return "Error: no block device can store vmstate for snapshot\n"
	case slices.Contains([]string{"", "info", "qemu-io", "quit"}, name):
		return ""
	}
	return fmt.Sprintf("unknown command: '%s'\n", name)
}

func recordedCompletions(line string) (int, []string) {
	switch line {
	case "info stat":
		return 4, []string{"stats", "status"}
	case "sav":
		return 3, []string{"savevm"}
	case "info na":
		return 2, []string{"name"}
	}
	return 0, nil
}

// console is what a scenario's command line asks for: an editor at the line itself, or at
// a multiplexer that the guest shares.
func (s scenario) console(t *testing.T, l *terminalLine, quit func()) LineEditor {
	t.Helper()
	var dev serial.Chardev = l
	if !slices.Contains(s.Setup, "-monitor") {
		hooks := serial.MuxHooks{Quit: quit}
		if i := slices.Index(s.Setup, "-echr"); i >= 0 {
			echr, _ := strconv.Atoi(s.Setup[i+1])
			hooks.Escape = byte(echr)
		}
		mux, err := serial.NewMux("serial0", l, hooks)
		if err != nil {
			t.Fatal(err)
		}
		guest, _ := mux.Port()
		if err := guest.Connect(&deafGuest{}); err != nil {
			t.Fatal(err)
		}
		dev, _ = mux.Port()
	}
	e, err := NewLineEditor(dev, EditorConfig{
		Banner:   "QEMU @VER@ monitor - type 'help' for more information",
		Complete: recordedCompletions,
	})
	if err != nil {
		t.Fatal(err)
	}
	return e
}

var clock = regexp.MustCompile(`\d\d:\d\d:\d\d\.\d{3}`)

// TestRecordedSessions types what was typed at QEMU and wants the same picture after each
// step.
func TestRecordedSessions(t *testing.T) {
	for _, s := range readScenarios(t) {
		t.Run(s.Name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			l := newTerminalLine()
			quit := 0
			e := s.console(t, l, func() { quit++ })
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					line, err := e.ReadLine("(qemu) ")
					if err != nil || line == "quit" {
						return
					}
					e.Write([]byte(recordedAnswers(line)))
				}
			}()
			s.play(t, l)
			e.Close()
			<-done
			last := s.Steps[len(s.Steps)-1].In
			if want := strings.Count(last, "x"); strings.HasSuffix(last, "x") && quit != want {
				t.Errorf("asked to quit %d times, want %d", quit, want)
			}
		})
	}
}

// play goes through the steps. Between two, nothing more may come than what was recorded.
func (s scenario) play(t *testing.T, l *terminalLine) {
	t.Helper()
	want := ""
	for i, step := range s.Steps {
		if strings.Contains(step.Out, "terminating on signal") {
			return // the terminal's doing, not the console's
		}
		l.enter(step.In)
		want += step.Out
		matches := func() bool {
			return clock.ReplaceAllString(render(l.text()), "@CLOCK@") == render(want)
		}
		for deadline := time.Now().Add(time.Minute); !matches(); time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("step %d, after %q:\n%q\nwant\n%q", i, step.In, render(l.text()), render(want))
			}
		}
	}
}

// TestScriptOnAMultiplexer types everything at once: each command is done before the next
// key of the multiplexer's has its effect.
func TestScriptOnAMultiplexer(t *testing.T) {
	defer goleak.VerifyNone(t)
	for _, plain := range []bool{false, true} {
		l := newTerminalLine()
		l.plain = plain
		ended := ""
		mux, err := serial.NewMux("m", l, serial.MuxHooks{Quit: func() { ended = render(l.text()) }})
		if err != nil {
			t.Fatal(err)
		}
		guest, _ := mux.Port()
		if err := guest.Connect(&deafGuest{}); err != nil {
			t.Fatal(err)
		}
		dev, _ := mux.Port()
		e, err := NewLineEditor(dev, EditorConfig{Banner: "hello"})
		if err != nil {
			t.Fatal(err)
		}
		done := session(e)
		l.enter("\x01cone\ntwo\nhalf a li\x01c\x01cthree\n\x01x")
		half := "half a li" // seen at a terminal, and forgotten
		if plain {
			half = ""
		}
		want := "hello\n> one\n<one>\n> two\n<two>\n> " + half + "\n> three\n<three>\n> QEMU: Terminated\n"
		if ended != want {
			t.Errorf("plain %v: %q, want %q", plain, ended, want)
		}
		e.Close()
		<-done
	}
}

func TestManyFocusSwitches(t *testing.T) {
	defer goleak.VerifyNone(t)
	l := newTerminalLine()
	mux, err := serial.NewMux("m", l, serial.MuxHooks{})
	if err != nil {
		t.Fatal(err)
	}
	guest := &deafGuest{}
	port, _ := mux.Port()
	if err := port.Connect(guest); err != nil {
		t.Fatal(err)
	}
	dev, _ := mux.Port()
	e, err := NewLineEditor(dev, EditorConfig{})
	if err != nil {
		t.Fatal(err)
	}
	done := session(e)
	for range 500 {
		l.enter("g\x01cabc\x7f\x01c")
	}
	l.enter("\x01clast\r")
	l.waitForSuffix(t, "> last\n<last>\n> ")
	e.Close()
	<-done
	if got := string(guest.got); got != strings.Repeat("g", 500) {
		t.Errorf("the guest got %d bytes: %.40q", len(got), got)
	}
}

func (l *terminalLine) waitForSuffix(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !strings.HasSuffix(render(l.text()), want); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the terminal shows %q at its end, want %q", l.text()[max(0, len(l.text())-200):], want)
		}
	}
}
