//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
)

// patience is how long a session waits for text: a hang must end, a slow machine must not
// fail.
const patience = 2 * time.Minute

// build compiles the program once and returns its path.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "qmon-test")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "qmon")
	if out, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	for _, name := range []string{"qemu-img", "qemu-nbd", "qemu-system-x86_64", "qemu-system-riscv64"} {
		if err := os.Symlink(bin, filepath.Join(dir, name)); err != nil {
			return "", err
		}
	}
	return bin, nil
})

// binary is the built program, or a link to it under one of its other names.
func binary(t testing.TB, name string) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(filepath.Dir(bin), name)
}

// session is the program on a pseudo terminal, as a person has it.
type session struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	data chan []byte
	seen string // printed since the last expectation
	all  strings.Builder
}

// startSession runs the program with a terminal of its own, in an empty folder.
func startSession(t *testing.T, args ...string) *session {
	t.Helper()
	return startSessionIn(t, t.TempDir(), args...)
}

// startSessionIn is startSession in a folder.
func startSessionIn(t *testing.T, dir string, args ...string) *session {
	t.Helper()
	return startProgram(t, dir, binary(t, "qmon"), args...)
}

// startProgram runs another program so, QEMU perhaps.
func startProgram(t *testing.T, dir, program string, args ...string) *session {
	t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "TERM=vt100", "HOME="+t.TempDir(), "XDG_STATE_HOME=")
	cmd.Dir = dir
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 100})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{t: t, cmd: cmd, tty: tty, data: make(chan []byte, 64)}
	go s.read()
	t.Cleanup(func() {
		cmd.Process.Kill()
		tty.Close()
		cmd.Wait()
	})
	return s
}

func (s *session) read() {
	defer close(s.data)
	for {
		buf := make([]byte, 4096)
		n, err := s.tty.Read(buf)
		if n > 0 {
			s.data <- buf[:n]
		}
		if err != nil {
			return
		}
	}
}

// expect waits until text was printed and returns what came before it.
func (s *session) expect(text string) string {
	s.t.Helper()
	return s.expectTyping("", text)
}

// expectTyping is expect, typing keys now and then: what is typed before the program
// listens is lost.
func (s *session) expectTyping(keys, text string) string {
	s.t.Helper()
	deadline, again := time.After(patience), time.NewTicker(time.Second/4)
	defer again.Stop()
	for {
		if i := strings.Index(s.seen, text); i >= 0 {
			before := s.seen[:i]
			s.seen = s.seen[i+len(text):]
			return before
		}
		select {
		case b, ok := <-s.data:
			if !ok {
				s.t.Fatalf("the program ended before it printed %q; it printed:\n%s", text, s.all.String())
			}
			s.seen += string(b)
			s.all.Write(b)
		case <-again.C:
			s.send(keys)
		case <-deadline:
			s.t.Fatalf("%q did not come; the program printed:\n%s", text, s.all.String())
		}
	}
}

// send types text.
func (s *session) send(text string) {
	s.t.Helper()
	if _, err := io.WriteString(s.tty, text); err != nil {
		s.t.Fatalf("typing %q: %v", text, err)
	}
}

// command types a line at a prompt and returns what is printed before the next one.
func (s *session) command(line, prompt string) string {
	s.t.Helper()
	s.send(line + "\r")
	s.expect(line[len(line)-1:])
	return s.expect("\n" + prompt)
}

// guest types at U-Boot's prompt.
func (s *session) guest(line string) string { s.t.Helper(); return s.command(line, "=> ") }

// switchFocus types C-a c.
func (s *session) switchFocus() { s.send("\x01c") }

// monitor runs a monitor command with the focus on the serial line before and after.
func (s *session) monitor(line string) string {
	s.t.Helper()
	s.switchFocus()
	s.expect("(qemu) ")
	out := s.command(line, "(qemu) ")
	s.switchFocus()
	return out
}

// end waits for the program to end by itself and returns its exit status.
func (s *session) end() int {
	s.t.Helper()
	for range s.data {
	}
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}
