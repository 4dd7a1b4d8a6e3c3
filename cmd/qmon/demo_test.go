//go:build unix

package main

import (
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

// guestCommand types at the built-in guest's prompt.
func (s *session) guestCommand(line string) string { s.t.Helper(); return s.command(line, "guest> ") }

// expectHello looks at the sector that the demonstration writes.
func (s *session) expectHello() {
	s.t.Helper()
	if out := s.guestCommand("show 0 9"); !strings.Contains(out, "hello") {
		s.t.Errorf("sector 9: %s", out)
	}
}
