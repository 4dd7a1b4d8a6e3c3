//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDemo does what the five lines that the program prints say.
func TestDemo(t *testing.T) {
	dir := t.TempDir()
	s := startSessionIn(t, dir)
	s.expect("C-a x")
	s.expect("guest> ")
	s.guestCommand("text 0 9 hello")
	s.monitor("savevm a")
	s.guestCommand("text 0 9 oh")
	s.monitor("loadvm a")
	s.expectHello()
	s.guestCommand("text 0 9 oh")
	s.changeCDs(dir)
	s.send("\x01x")
	if status := s.end(); status != 0 {
		t.Errorf("exit status %d", status)
	}

	another := startSessionIn(t, dir, "-loadvm", "a")
	another.expectTyping("\r", "guest> ")
	another.expectHello()
	another.send("\x01x")
	another.end()
}

// changeCDs has the built-in guest look at two CDs, and open the tray.
func (s *session) changeCDs(dir string) {
	s.t.Helper()
	image := make([]byte, 32<<10+2048)
	copy(image[32<<10:], "\x01CD001")
	copy(image[32<<10+40:], "ONE                             ")
	for name, size := range map[string]int{"one.iso": len(image), "two.iso": 100 << 10} {
		if err := os.WriteFile(filepath.Join(dir, name), append(image, make([]byte, size-len(image))...), 0o600); err != nil {
			s.t.Fatal(err)
		}
	}
	s.expectGuest("cd", "no CD")
	s.monitor("change ide1-cd0 one.iso raw")
	s.expectGuest("cd", "there is a new CD")
	s.expectGuest("cd", "CD: 34 KiB, label ONE")
	s.monitor("change ide1-cd0 two.iso raw")
	s.expectGuest("info", "CD: 100 KiB, label ONE")
	s.expectGuest("eject", "the tray is open")
	if out := s.monitor("info block ide1-cd0"); !strings.Contains(out, "tray open") {
		s.t.Errorf("info block: %s", out)
	}
	s.expectGuest("cd", "no CD")
	s.expectGuest("load", "the tray is closed")
	s.expectGuest("cd", "CD: 100 KiB")
}

// guestCommand types at the built-in guest's prompt.
func (s *session) guestCommand(line string) string { s.t.Helper(); return s.command(line, "guest> ") }

// expectHello looks at the sector that the demonstration writes.
func (s *session) expectHello() {
	s.t.Helper()
	if out := s.guestCommand("show 0 9"); !strings.Contains(out, "hello") {
		s.t.Errorf("sector 9: %s", out)
	}
}
