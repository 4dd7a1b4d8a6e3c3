package monitor

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/qmon/qmon/serial"
)

// terminalLine is a character device whose host's end is the test. What it shows has line
// feeds turned into CR LF, as a terminal's driver does.
type terminalLine struct {
	plain   bool
	columns int

	mu    sync.Mutex
	front serial.Frontend
	shown strings.Builder
	ready chan struct{}
}

var (
	_ serial.Chardev = (*terminalLine)(nil)
	_ serial.Sizer   = (*terminalLine)(nil)
)

func newTerminalLine() *terminalLine { return &terminalLine{ready: make(chan struct{}, 1)} }

func (l *terminalLine) ID() string       { return "line" }
func (l *terminalLine) Filename() string { return "line" }
func (l *terminalLine) Connected() bool  { return l.frontend() != nil }
func (l *terminalLine) Terminal() bool   { return !l.plain }
func (l *terminalLine) Close() error     { return nil }
func (l *terminalLine) Size() (int, int) { return l.columns, 24 }

func (l *terminalLine) Connect(f serial.Frontend) error {
	l.mu.Lock()
	l.front = f
	l.mu.Unlock()
	if f != nil {
		f.Event(serial.EventOpened)
	}
	return nil
}

func (l *terminalLine) frontend() serial.Frontend {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.front
}

func (l *terminalLine) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.shown.WriteString(strings.ReplaceAll(string(p), "\n", "\r\n"))
	return len(p), nil
}

func (l *terminalLine) Ready() {
	select {
	case l.ready <- struct{}{}:
	default:
	}
}

// enter types text, waiting for room as a device does.
func (l *terminalLine) enter(text string) {
	for p := []byte(text); len(p) > 0; {
		n := l.frontend().Receive(p)
		if p = p[n:]; len(p) > 0 {
			<-l.ready
		}
	}
}

func (l *terminalLine) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shown.String()
}

// waitFor waits until what a terminal would show is as wanted.
func (l *terminalLine) waitFor(t *testing.T, want string) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		got := render(l.text())
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("the terminal shows\n%q\nwant\n%q", got, want)
		}
	}
}

// render is what a terminal shows after some output: the escape sequences are those that
// QEMU's editor and ours use within one row.
func render(raw string) string {
	text := []rune(strings.ReplaceAll(raw, "\r\n", "\n"))
	var done []string
	var row []rune
	col := 0
	for i := 0; i < len(text); i++ {
		switch c := text[i]; c {
		case '\x1b':
			n, final, length := sequence(text[i:])
			switch final {
			case 'D':
				col = max(0, col-n)
			case 'C':
				col += n
			case 'K':
				row = row[:min(col, len(row))]
			}
			i += length - 1
		case '\n':
			done = append(done, string(row))
			row, col = nil, 0
		case '\r':
			col = 0
		default:
			for len(row) <= col {
				row = append(row, ' ')
			}
			row[col] = c
			col++
		}
	}
	return strings.Join(append(done, string(row)), "\n")
}

// sequence parses ESC [ n final.
func sequence(text []rune) (n int, final rune, length int) {
	i := 2
	for ; i < len(text) && text[i] >= '0' && text[i] <= '9'; i++ {
		n = n*10 + int(text[i]-'0')
	}
	if i >= len(text) {
		return 1, 0, len(text)
	}
	if i == 2 {
		n = 1
	}
	return n, text[i], i + 1
}

// session reads lines from an editor and shows each in angle brackets.
func session(e LineEditor) (done chan struct{}) {
	done = make(chan struct{})
	go func() {
		defer close(done)
		for {
			line, err := e.ReadLine("> ")
			if err != nil {
				return
			}
			e.Write([]byte("<" + line + ">\n"))
		}
	}()
	return done
}

func startEditor(t *testing.T, l *terminalLine, config EditorConfig) LineEditor {
	t.Helper()
	e, err := NewLineEditor(l, config)
	if err != nil {
		t.Fatal(err)
	}
	done := session(e)
	t.Cleanup(func() {
		e.Close()
		<-done
		goleak.VerifyNone(t)
	})
	return e
}

func testCompleter(line string) (int, []string) {
	word := line[strings.LastIndexByte(line, ' ')+1:]
	var fit []string
	for _, w := range []string{"savevm", "stats", "status", "dir/", "block", "block-jobs", "blockstats"} {
		if strings.HasPrefix(w, word) {
			fit = append(fit, w)
		}
	}
	return len(word), fit
}

func TestKeys(t *testing.T) {
	tests := []struct{ name, keys, want string }{
		{"plain", "info\r", "> info\n<info>\n> "},
		{"rubout", "infx\x7fo\r", "> info\n<info>\n> "},
		{"backspace at the start", "\x08a\r", "> a\n<a>\n> "},
		{"home and end", "b\x01a\x05c\r", "> abc\n<abc>\n> "},
		{"home and end keys", "b\x1b[1~a\x1b[4~c\x1b[Hx\x1bOFy\r", "> xabcy\n<xabcy>\n> "},
		{"arrows", "ac\x1b[Db\x1b[Cd\r", "> abcd\n<abcd>\n> "},
		{"delete", "abc\x01\x1b[3~\x04\r", "> c\n<c>\n> "},
		{"delete in an empty line is not the end", "\x04a\x04\r", "> a\n<a>\n> "},
		{"kill to the end", "abcd\x1b[D\x1b[D\x0b\r", "> ab\n<ab>\n> "},
		{"kill word to a space", "a b-c \x17d\r", "> a d\n<a d>\n> "},
		{"kill many words", "a bb ccc dd eeee f\x1b[D\x17\x17\x17z\x17\x17y\r", "> a yf\n<a yf>\n> "},
		{"history", "one\rtwo\r\x1b[A\x1b[A\r", "> one\n<one>\n> two\n<two>\n> one\n<one>\n> "},
		{"history and back to the draft", "one\rtw\x1b[A\x1b[Bo\r", "> one\n<one>\n> two\n<two>\n> "},
		{"keys without a meaning", "a\x00\x03\x07\x0e\x10\x12\x13\x15\x1ab\x1bx\x1b[5~\x1b[200~c\r", "> abc\n<abc>\n> "},
		{"empty lines", "\r\n\r", "> \n<>\n> \n<>\n> "},
		{"typed ahead", "a\rb\r\nc\nd", "> a\n<a>\n> b\n<b>\n> c\n<c>\n> d"},
		{"the only completion", "sav\t\r", "> savevm \n<savevm >\n> "},
		{"a completion that goes on", "d\tx\r", "> dir/x\n<dir/x>\n> "},
		{"several completions", "a sta\tus\r", "> a sta\nstats     status    \n> a status\n<a status>\n> "},
		{"several completions with a common part", "bl\t", "> bl\nblock       block-jobs  blockstats  \n> block"},
		{"completion in the middle", "sav x\x1b[D\x1b[D\t\r", "> savevm  x\n<savevm  x>\n> "},
		{"no completion", "zz\t\r", "> zz\n<zz>\n> "},
		{"other scripts", "gr\u00fc\u00dfe\x7f\x7f\u4e16!\r", "> gr\u00fc\u4e16!\n<gr\u00fc\u4e16!>\n> "},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			l := newTerminalLine()
			startEditor(t, l, EditorConfig{Banner: "hello", Complete: testCompleter})
			l.enter(test.keys)
			l.waitFor(t, "hello\n"+test.want)
		})
	}
}

func TestPromptIsSentOnce(t *testing.T) {
	l := newTerminalLine()
	startEditor(t, l, EditorConfig{})
	l.enter("abc\x7f\x01x")
	l.waitFor(t, "> xab")
	if n := strings.Count(l.text(), "> "); n != 1 {
		t.Errorf("the prompt was sent %d times: %q", n, l.text())
	}
}

func TestOutputAppearsAboveTheLine(t *testing.T) {
	l := newTerminalLine()
	e := startEditor(t, l, EditorConfig{})
	l.enter("abc\x1b[D")
	l.waitFor(t, "> abc")
	io.WriteString(e, "some ")
	l.waitFor(t, "> abc")
	io.WriteString(e, "event\nand ")
	l.waitFor(t, "some event\n> abc")
	l.enter("x")
	l.waitFor(t, "some event\n> abxc")
	l.enter("\r")
	l.waitFor(t, "some event\n> abxc\nand <abxc>\n> ")
}

func TestFocusAndPeers(t *testing.T) {
	l := newTerminalLine()
	e := startEditor(t, l, EditorConfig{Banner: "hello"})
	l.enter("abc")
	l.waitFor(t, "hello\n> abc")
	l.frontend().Event(serial.EventFocusOut)
	l.waitFor(t, "hello\n> abc\n")
	io.WriteString(e, "meanwhile\n")
	l.waitFor(t, "hello\n> abc\n")
	l.frontend().Event(serial.EventFocusIn)
	l.waitFor(t, "hello\n> abc\nmeanwhile\n> ")
	l.enter("d\r")
	l.waitFor(t, "hello\n> abc\nmeanwhile\n> d\n<d>\n> ")
	l.enter("half a li")
	l.waitFor(t, "hello\n> abc\nmeanwhile\n> d\n<d>\n> half a li")
	l.frontend().Event(serial.EventClosed)
	l.frontend().Event(serial.EventOpened)
	l.enter("e\r")
	l.waitFor(t, "hello\n> abc\nmeanwhile\n> d\n<d>\n> half a lihello\n> e\n<e>\n> ")
}

func TestLongLineWraps(t *testing.T) {
	s := screen{columns: 10, prompt: "> "}
	steps := []struct{ line, want string }{
		{"1234567", "1234567"},
		{"12345678", "8 \r"},
		{"123456789", "9"},
		{"x23456789", "\x1b[1A\x1b[1Cx23456789"},
		{"x2", "\x1b[1A\x1b[3C\x1b[J"},
	}
	for _, step := range steps {
		if got := s.update([]rune(step.line), len(step.line)); got != step.want {
			t.Errorf("to %q: %q, want %q", step.line, got, step.want)
		}
	}
}

func TestTooLongALine(t *testing.T) {
	for _, plain := range []bool{false, true} {
		l := newTerminalLine()
		l.plain = plain
		e, err := NewLineEditor(l, EditorConfig{})
		if err != nil {
			t.Fatal(err)
		}
		lines := make(chan string)
		go func() {
			for range 2 {
				line, _ := e.ReadLine("")
				lines <- line
			}
		}()
		go l.enter(strings.Repeat("x", 3*maxLine) + "\nok\n")
		if first := <-lines; len(first) > maxLine {
			t.Errorf("plain %v: a line of %d bytes", plain, len(first))
		}
		if second := <-lines; second != "ok" {
			t.Errorf("plain %v: the next line is %q", plain, second)
		}
		e.Close()
	}
	goleak.VerifyNone(t)
}

// TestScript ends in the middle of a line, which is no command then.
func TestScript(t *testing.T) {
	l := newTerminalLine()
	l.plain = true
	e, err := NewLineEditor(l, EditorConfig{Banner: "hello"})
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	go func() {
		l.enter("one\r\n\ttwo\nthree")
		l.frontend().Event(serial.EventClosed)
	}()
	var lines []string
	for {
		line, err := e.ReadLine("> ")
		if errors.Is(err, io.EOF) {
			break
		}
		lines = append(lines, line)
		io.WriteString(e, "ok\n")
	}
	if want := []string{"one", "\ttwo"}; !slices.Equal(lines, want) {
		t.Errorf("lines %q, want %q", lines, want)
	}
	if want := "hello\n> one\nok\n> \ttwo\nok\n> "; render(l.text()) != want {
		t.Errorf("log %q, want %q", render(l.text()), want)
	}
	if got := e.History(); !slices.Equal(got, lines) {
		t.Errorf("history %q", got)
	}
}

func TestCloseEndsReadLine(t *testing.T) {
	for _, typed := range []string{"", "unfinished", "lines\nahead\nof time\n", "\x1b["} {
		for _, plain := range []bool{false, true} {
			l := newTerminalLine()
			l.plain = plain
			e, err := NewLineEditor(l, EditorConfig{})
			if err != nil {
				t.Fatal(err)
			}
			l.enter(typed)
			done := session(e)
			e.Close()
			<-done
			if _, err := e.ReadLine(""); err != io.EOF {
				t.Errorf("ReadLine after Close: %v", err)
			}
			if l.Connected() {
				t.Error("still connected")
			}
		}
	}
	goleak.VerifyNone(t)
}

func TestHistoryFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "history")
	run := func(old []string, lines ...string) {
		var h history
		h.open(path)
		if got := h.all(); !slices.Equal(got, old) {
			t.Errorf("found %q, want %q", got, old)
		}
		for _, line := range lines {
			h.add(line)
		}
		if got := h.session(); len(lines) > 0 && !slices.Equal(got, slices.Compact(lines)) {
			t.Errorf("session %q", got)
		}
		h.close()
	}
	run(nil, "one", "two")
	run([]string{"one", "two"}, "one", "one")
	run([]string{"two", "one"})
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestHistoryOfSeveralPrograms(t *testing.T) {
	path := filepath.Join(t.TempDir(), "history")
	var a, b, c history
	a.open(path)
	b.open(path)
	for range maxHistory + 1 {
		a.add("a")
		b.add("b")
	}
	a.close()
	b.add("c")
	c.open(path)
	if got := c.all(); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("%q", got)
	}
	if text, _ := os.ReadFile(path); strings.Count(string(text), "\n") != 3 {
		t.Errorf("the file was not shortened: %d bytes", len(text))
	}
}

func TestHistoryWithoutAFile(t *testing.T) {
	dir := t.TempDir()
	blocked := filepath.Join(dir, "file")
	if err := os.WriteFile(blocked, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"", filepath.Join(blocked, "history"), dir} {
		var h history
		h.open(path)
		h.add("x")
		h.close()
		if got := h.all(); !slices.Equal(got, []string{"x"}) {
			t.Errorf("path %q: %q", path, got)
		}
	}
}

func TestHistoryPath(t *testing.T) {
	t.Setenv("HOME", "/home/me")
	t.Setenv("XDG_STATE_HOME", "")
	if got := HistoryPath(); got != filepath.FromSlash("/home/me/.local/state/qmon/history") {
		t.Error(got)
	}
	t.Setenv("XDG_STATE_HOME", "/state")
	if got := HistoryPath(); got != filepath.FromSlash("/state/qmon/history") {
		t.Error(got)
	}
	t.Setenv("HOME", "")
	t.Setenv("XDG_STATE_HOME", "relative")
	if got := HistoryPath(); got != "" {
		t.Error(got)
	}
}

func FuzzKeys(f *testing.F) {
	f.Add([]byte("abc\x1b[D\x7f\t\r"))
	f.Add([]byte("\x1b[1;5D\x1bO\x1b\x00\xff\xfe\x17\x0c"))
	f.Fuzz(func(t *testing.T, keys []byte) {
		r := &keyReader{src: strings.NewReader(string(keys))}
		out, err := io.ReadAll(r)
		if err != nil || len(out) > 2*len(keys) {
			t.Errorf("%d bytes made %d: %v", len(keys), len(out), err)
		}
		var s screen
		s.columns = 7
		s.update([]rune(string(out)), len([]rune(string(out)))/2)
		s.hide()
	})
}
