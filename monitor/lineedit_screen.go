package monitor

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// screen is what a terminal shows of the line being edited: a prompt, the line, a cursor.
// Its methods return what to send so that the terminal shows something else; that is
// little, so that a slow line keeps up and a program that waits for a prompt sees it once.
type screen struct {
	columns int // of the window; 0 if not known: then nothing is known to wrap
	prompt  string
	line    []rune
	pos     int // of the cursor, in line
}

// column counts the columns from the prompt's start to the i-th character of a line.
func (s *screen) column(line []rune, i int) int {
	n := 0
	for _, r := range s.prompt {
		n += runeWidth(r)
	}
	for _, r := range line[:i] {
		n += runeWidth(r)
	}
	return n
}

// runeWidth is the number of columns that a character takes.
func runeWidth(r rune) int {
	if r >= ' ' && r < utf8.RuneSelf {
		return 1
	}
	return uniseg.StringWidth(string(r))
}

// row and col are where a column is in the window.
func (s *screen) row(column int) int {
	if s.columns == 0 {
		return 0
	}
	return column / s.columns
}

func (s *screen) col(column int) int {
	if s.columns == 0 {
		return column
	}
	return column % s.columns
}

// move takes the cursor from one column to another.
func (s *screen) move(b *strings.Builder, from, to int) {
	rows := s.row(to) - s.row(from)
	switch {
	case rows < 0:
		fmt.Fprintf(b, "\x1b[%dA", -rows)
	case rows > 0:
		fmt.Fprintf(b, "\x1b[%dB", rows)
	}
	switch cols := s.col(to) - s.col(from); {
	case cols < 0:
		fmt.Fprintf(b, "\x1b[%dD", -cols)
	case cols > 0:
		fmt.Fprintf(b, "\x1b[%dC", cols)
	}
}

// text prints the line from its i-th character on. A terminal that has filled a row stays
// in it until the next character comes: a space and a return take it to the next.
func (s *screen) text(b *strings.Builder, line []rune, i int) {
	b.WriteString(string(line[i:]))
	end := s.column(line, len(line))
	if len(line) > i && end > 0 && s.columns > 0 && s.col(end) == 0 {
		b.WriteString(" \r")
	}
}

// erase clears from the cursor to the end of what was shown.
func (s *screen) erase(b *strings.Builder, at, end int) {
	switch {
	case s.row(end) > s.row(at):
		b.WriteString("\x1b[J")
	case end > at:
		b.WriteString("\x1b[K")
	}
}

// show prints prompt and line at the start of an empty row.
func (s *screen) show() string {
	var b strings.Builder
	b.WriteString(s.prompt)
	s.text(&b, s.line, 0)
	s.move(&b, s.column(s.line, len(s.line)), s.column(s.line, s.pos))
	return b.String()
}

// update has the terminal show another line or cursor.
func (s *screen) update(line []rune, pos int) string {
	var b strings.Builder
	same := commonPrefix(s.line, line)
	at := s.column(s.line, s.pos)
	if same < len(s.line) || same < len(line) {
		s.move(&b, at, s.column(line, same))
		s.text(&b, line, same)
		at = s.column(line, len(line))
		s.erase(&b, at, s.column(s.line, len(s.line)))
	}
	s.move(&b, at, s.column(line, pos))
	s.line, s.pos = append([]rune(nil), line...), pos
	return b.String()
}

// hide takes prompt and line off the terminal and leaves the cursor where they began.
func (s *screen) hide() string {
	var b strings.Builder
	if up := s.row(s.column(s.line, s.pos)); up > 0 {
		fmt.Fprintf(&b, "\x1b[%dA", up)
	}
	b.WriteString("\r\x1b[J")
	if s.row(s.column(s.line, len(s.line))) == 0 {
		return "\r\x1b[K"
	}
	return b.String()
}

// finish takes the cursor behind the line.
func (s *screen) finish() string {
	var b strings.Builder
	s.move(&b, s.column(s.line, s.pos), s.column(s.line, len(s.line)))
	s.pos = len(s.line)
	return b.String()
}

func commonPrefix(a, b []rune) int {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	return i
}
