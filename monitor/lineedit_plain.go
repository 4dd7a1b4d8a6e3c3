package monitor

import (
	"bufio"
	"bytes"
	"io"
	"sync"
	"time"

	"github.com/qmon/qmon/serial"
)

// plainEditor reads lines from a file, a pipe or a script. Nothing is edited; a line that
// was read is shown behind its prompt.
type plainEditor struct {
	*console
	lines   *bufio.Reader
	history history

	reading sync.Mutex // one ReadLine at a time
	prompt  string     // shown while ReadLine waits; guarded by out
	over    bool       // the input has ended: no prompt until the next peer; guarded by out
}

var (
	_ LineEditor      = (*plainEditor)(nil)
	_ serial.Frontend = plainFrontend{}
	_ serial.Settler  = plainFrontend{}
)

func newPlainEditor(dev serial.Chardev, config EditorConfig) (*plainEditor, error) {
	e := &plainEditor{console: newConsole(dev, config.Banner)}
	e.lines = bufio.NewReaderSize(e.console, inputRoom)
	return e, dev.Connect(plainFrontend{e})
}

// ReadLine implements LineEditor.
func (e *plainEditor) ReadLine(prompt string) (string, error) {
	e.reading.Lock()
	defer e.reading.Unlock()
	e.showPrompt(prompt)
	line, err := e.nextLine()
	e.out.Lock()
	defer e.out.Unlock()
	e.prompt = ""
	e.over = err != nil
	if err == nil {
		e.send([]byte(line + "\n"))
		e.history.add(line)
	}
	return line, err
}

// nextLine reads a line. One that is too long is refused as a whole, and one without an
// end is dropped: what is left of it may well be another command than the one meant.
func (e *plainEditor) nextLine() (string, error) {
	line, err := e.lines.ReadSlice('\n')
	tooLong := false
	for err == bufio.ErrBufferFull {
		tooLong = true
		line, err = e.lines.ReadSlice('\n')
	}
	if err != nil || e.isShut() {
		return "", io.EOF
	}
	if tooLong {
		_, _ = e.Write([]byte("\nline too long\n"))
		return "", nil
	}
	line = line[bytes.LastIndexByte(line, resetMark)+1:]
	return string(bytes.TrimRight(line, "\r\n")), nil
}

func (e *plainEditor) showPrompt(prompt string) {
	e.out.Lock()
	defer e.out.Unlock()
	e.prompt = prompt
	if e.visible() && !e.over {
		e.send([]byte(prompt))
	}
}

// Write implements LineEditor.
func (e *plainEditor) Write(p []byte) (int, error) {
	e.out.Lock()
	defer e.out.Unlock()
	e.send(p)
	return len(p), nil
}

// History implements LineEditor.
func (e *plainEditor) History() []string { return e.history.session() }

// Close implements LineEditor.
func (e *plainEditor) Close() error { return e.shut() }

// plainFrontend keeps the device's side of the editor out of its public face.
type plainFrontend struct{ e *plainEditor }

func (f plainFrontend) Receive(p []byte) int { return f.e.receive(p) }

// Settle implements serial.Settler.
func (f plainFrontend) Settle(limit time.Duration) { f.e.settle(limit) }

func (f plainFrontend) Event(event serial.Event) {
	e := f.e
	switch event {
	case serial.EventOpened:
		e.setEnded(false)
		e.inject(resetMark)
	case serial.EventFocusOut:
		e.inject(resetMark)
	case serial.EventClosed:
		e.setEnded(true)
	}
	e.out.Lock()
	defer e.out.Unlock()
	switch event {
	case serial.EventOpened:
		e.over = false
		e.peerCame()
	case serial.EventFocusIn:
		e.enter()
	case serial.EventFocusOut:
		e.leave()
		return
	default:
		return
	}
	if e.visible() && !e.over {
		e.send([]byte(e.prompt))
	}
}
