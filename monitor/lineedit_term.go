package monitor

import (
	"bytes"
	"io"
	"slices"
	"sync"
	"time"
	"unicode"

	"github.com/chzyer/readline"

	"github.com/qmon/qmon/serial"
)

// tailRoom bounds a line of output that waits for its end while a command line is being
// edited; a longer one is broken.
const tailRoom = 4096

// termEditor edits lines for a person. Package readline turns keys into a line and a
// cursor; what the terminal gets to see is drawn here, since readline would repeat the
// prompt at every key and move the cursor in ways that only whole windows understand.
//
//	device -> console -> keyReader -> readline -> listen -> screen -> device
type termEditor struct {
	*console
	rl       *readline.Instance
	complete Completer
	history  history
	endKey   bool // C-d in an empty line ends the input

	reading sync.Mutex // one ReadLine at a time
	over    bool       // readline has told its end, which it does once; guarded by reading

	// Guarded by out.
	screen  screen
	editing bool
	tail    []byte // output without a line end, for after the line

	// What the marks in the input mean: a channel is closed, nil forgets the line.
	marking sync.Mutex
	marks   []chan struct{}

	// The line before the present key. Used by readline's goroutine, and by ReadLine
	// while that waits for ReadLine.
	line   []rune
	pos    int
	recall recall
}

var (
	_ LineEditor      = (*termEditor)(nil)
	_ serial.Frontend = termFrontend{}
	_ serial.Settler  = termFrontend{}
)

func newTermEditor(dev serial.Chardev, config EditorConfig) (*termEditor, error) {
	e := &termEditor{console: newConsole(dev, config.Banner), complete: config.Complete, endKey: config.EndKey}
	e.history.open(config.HistoryFile)
	nothing := func() error { return nil }
	rl, err := readline.NewEx(&readline.Config{
		Stdin:                  &keyReader{src: e.console},
		Stdout:                 io.Discard,
		Stderr:                 io.Discard,
		FuncIsTerminal:         func() bool { return false },
		FuncMakeRaw:            nothing,
		FuncExitRaw:            nothing,
		FuncGetWidth:           func() int { return 1 },
		FuncOnWidthChanged:     func(func()) {},
		FuncFilterInputRune:    e.filter,
		Listener:               readline.FuncListener(e.listen),
		AutoComplete:           noCompletion{},
		Painter:                noPainter{},
		DisableAutoSaveHistory: true,
	})
	if err != nil {
		return nil, err
	}
	e.rl = rl
	if err := dev.Connect(termFrontend{e}); err != nil {
		e.stop()
		return nil, err
	}
	return e, nil
}

// noCompletion and noPainter keep readline from doing what the editor does itself.
type noCompletion struct{}

func (noCompletion) Do([]rune, int) ([][]rune, int) { return nil, 0 }

type noPainter struct{}

func (noPainter) Paint(line []rune, _ int) []rune { return line }

// ReadLine implements LineEditor.
func (e *termEditor) ReadLine(prompt string) (string, error) {
	e.reading.Lock()
	defer e.reading.Unlock()
	if e.over || e.isShut() {
		return "", io.EOF
	}
	e.line, e.pos = nil, 0
	e.recall = recall{lines: e.history.all()}
	e.begin(prompt)
	line, err := e.rl.Readline()
	e.over = err != nil
	if e.isShut() {
		return "", io.EOF
	}
	e.end()
	if e.over {
		return "", io.EOF
	}
	e.history.add(line)
	return line, nil
}

// begin shows the prompt.
func (e *termEditor) begin(prompt string) {
	e.out.Lock()
	defer e.out.Unlock()
	e.screen = screen{prompt: prompt, columns: e.columns()}
	e.editing = true
	e.draw(e.screen.show)
}

// end leaves the line that was edited.
func (e *termEditor) end() {
	e.out.Lock()
	defer e.out.Unlock()
	e.editing = false
	e.draw(e.screen.finish)
	e.send(append([]byte("\n"), e.tail...))
	e.tail = nil
}

// columns is the width of the terminal's window, 0 if it is not known.
func (e *termEditor) columns() int {
	if s, ok := e.dev.(serial.Sizer); ok {
		columns, _ := s.Size()
		return columns
	}
	return 0
}

// draw sends what changes the screen, if anybody sees it. With out held.
func (e *termEditor) draw(change func() string) {
	text := change()
	if e.visible() && text != "" {
		_, _ = e.dev.Write([]byte(text))
	}
}

// filter drops a C-d in an empty line, which readline takes for the end of all input, where
// it is not meant to be that.
func (e *termEditor) filter(r rune) (rune, bool) {
	return r, r != keyDelete || len(e.line) > 0 || e.endKey
}

// listen hears of every key after readline has done its part, and may put another line in
// the place of readline's.
func (e *termEditor) listen(line []rune, pos int, key rune) ([]rune, int, bool) {
	defer serial.RestoreOnPanic()
	switch key {
	case 0, keyEnter, keyLineFeed:
		return nil, 0, false // before the first key, and after the last
	}
	newLine, newPos := e.edit(line, pos, key)
	e.line, e.pos = slices.Clone(newLine), newPos // readline changes newLine in place
	e.out.Lock()
	defer e.out.Unlock()
	if e.editing {
		e.screen.columns = e.columns()
		e.draw(func() string { return e.screen.update(e.line, newPos) })
	}
	return newLine, newPos, true
}

// edit returns the line that a key makes; line and pos are readline's opinion.
func (e *termEditor) edit(line []rune, pos int, key rune) ([]rune, int) {
	switch key {
	case keyMark:
		return e.passMark()
	case keyTab:
		done := e.complete.complete(e.line, e.pos)
		if done.list != "" {
			_, _ = e.Write([]byte("\n" + done.list))
		}
		return done.line, done.pos
	case keyClear:
		e.clear()
		return e.line, e.pos
	case keyKillWord:
		return killWord(e.line, e.pos)
	case readline.CharPrev:
		return e.recall.up(e.line)
	case readline.CharNext:
		return e.recall.down(e.line)
	}
	if len(string(line)) > maxLine {
		return e.line, e.pos
	}
	return line, pos
}

// mark puts a mark into the input: reached, or nil to forget the line.
func (e *termEditor) mark(reached chan struct{}) {
	e.marking.Lock()
	defer e.marking.Unlock()
	e.marks = append(e.marks, reached)
	e.inject(resetMark)
}

// passMark does what the next mark means.
func (e *termEditor) passMark() ([]rune, int) {
	e.marking.Lock()
	defer e.marking.Unlock()
	reached := e.marks[0]
	e.marks = e.marks[1:]
	if reached == nil {
		return nil, 0
	}
	close(reached)
	return e.line, e.pos
}

// settle waits until all that was typed is done and shown, but no longer than limit.
func (e *termEditor) settle(limit time.Duration) {
	late := time.NewTimer(limit)
	defer late.Stop()
	if !e.console.settle(limit) {
		return
	}
	reached := make(chan struct{})
	e.mark(reached)
	select {
	case <-reached:
	case <-late.C:
	}
}

// killWord removes the word left of the cursor and what follows it, up to the cursor.
func killWord(line []rune, pos int) ([]rune, int) {
	start := pos
	for start > 0 && unicode.IsSpace(line[start-1]) {
		start--
	}
	for start > 0 && !unicode.IsSpace(line[start-1]) {
		start--
	}
	return append(append([]rune(nil), line[:start]...), line[pos:]...), start
}

// clear empties the window and shows the line at its top.
func (e *termEditor) clear() {
	e.out.Lock()
	defer e.out.Unlock()
	e.draw(func() string { return "\x1b[2J\x1b[1;1H" + e.screen.show() })
}

// Write implements LineEditor.
func (e *termEditor) Write(p []byte) (int, error) {
	e.out.Lock()
	defer e.out.Unlock()
	if !e.editing {
		e.send(p)
		return len(p), nil
	}
	text := append(e.tail, p...)
	end := bytes.LastIndexByte(text, '\n') + 1
	if len(text)-end > tailRoom {
		text = append(text, '\n')
		end = len(text)
	}
	e.tail = append([]byte(nil), text[end:]...)
	if end > 0 {
		e.insert(text[:end])
	}
	return len(p), nil
}

// insert shows whole lines above the one being edited. With out held.
func (e *termEditor) insert(text []byte) {
	if text[0] == '\n' { // below it: a list
		e.draw(e.screen.finish)
	} else {
		e.draw(e.screen.hide)
	}
	e.send(text)
	e.draw(e.screen.show)
}

// History implements LineEditor.
func (e *termEditor) History() []string { return e.history.session() }

// Close implements LineEditor.
func (e *termEditor) Close() error {
	err := e.shut()
	e.stop()
	return err
}

// stop ends readline's goroutines: they end when they have handed over all they had.
func (e *termEditor) stop() {
	e.console.end()
	e.reading.Lock()
	defer e.reading.Unlock()
	for !e.over {
		_, err := e.rl.Readline()
		e.over = err != nil
	}
	_ = e.rl.Close()
	e.history.close()
}

// termFrontend keeps the device's side of the editor out of its public face.
type termFrontend struct{ e *termEditor }

// Receive implements serial.Frontend.
func (f termFrontend) Receive(p []byte) int { return f.e.receive(p) }

// Settle implements serial.Settler.
func (f termFrontend) Settle(limit time.Duration) { f.e.settle(limit) }

// Event implements serial.Frontend. A line that was begun is forgotten when the peer or
// the focus goes, as in QEMU.
func (f termFrontend) Event(event serial.Event) {
	e := f.e
	e.out.Lock()
	defer e.out.Unlock()
	switch event {
	case serial.EventOpened:
		e.forget()
		e.peerCame()
	case serial.EventFocusIn:
		e.enter()
	case serial.EventFocusOut:
		e.leave()
		e.forget()
		return
	default:
		return
	}
	if e.editing {
		e.draw(e.screen.show)
	}
}

// forget drops the line being edited, leaving on the terminal what is there. With out held.
func (e *termEditor) forget() {
	e.screen.line, e.screen.pos = nil, 0
	e.mark(nil)
}

// recall walks through the history for one line.
type recall struct {
	lines []string
	back  int    // how many lines back; 0 is the line being typed
	draft []rune // what had been typed
}

// up and down return the line before and after, line itself at either end.
func (r *recall) up(line []rune) ([]rune, int) {
	if r.back == len(r.lines) {
		return line, len(line)
	}
	if r.back == 0 {
		r.draft = line
	}
	r.back++
	return r.line()
}

func (r *recall) down(line []rune) ([]rune, int) {
	if r.back == 0 {
		return line, len(line)
	}
	r.back--
	return r.line()
}

func (r *recall) line() ([]rune, int) {
	line := r.draft
	if r.back > 0 {
		line = []rune(r.lines[len(r.lines)-r.back])
	}
	return append([]rune(nil), line...), len(line)
}
