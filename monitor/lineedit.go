package monitor

import "github.com/qmon/qmon/serial"

// LineEditor is a console that reads command lines from one character device and shows
// output there. It knows nothing of commands.
//
// ReadLine is called by one goroutine at a time; the other methods may be called by any,
// also while ReadLine waits.
type LineEditor interface {
	// ReadLine shows the prompt and returns the next line, without its end. At a person's
	// terminal it can be edited; a line that was typed ahead is taken as it came.
	//
	// The error is io.EOF once the editor is closed, and, where no person sits at the
	// other end (serial.Chardev.Terminal), each time the input has come to its end; to
	// call again then waits for the next peer, if there can be one.
	ReadLine(prompt string) (string, error)
	// Write shows output; every "\n" is sent as "\r\n", as QEMU does on all devices. What
	// is written while a line is being edited appears above that line; what is written
	// while the multiplexer's focus is elsewhere appears when it comes back.
	Write(p []byte) (int, error)
	// History lists the lines read since the start, oldest first, a repeated one where it
	// was last. (The up key finds those of earlier runs, too.)
	History() []string
	// Close detaches from the device, which stays open, and ends ReadLine.
	Close() error
}

// EditorConfig says how a LineEditor behaves.
type EditorConfig struct {
	// Banner is a line shown before the first prompt to everybody who connects; on a
	// multiplexer, when the focus comes for the first time.
	Banner string
	// Complete finds completions for the line left of the cursor, nil for none.
	Complete Completer
	// HistoryFile keeps the history between runs; empty for none. See HistoryPath.
	HistoryFile string
	// EndKey makes C-d in an empty line the end of the input at a terminal, too.
	EndKey bool
}

// Completer returns the words that can stand in place of the last n bytes of line. A word
// that ends in "/" can be continued; after any other that is the only one, the editor puts
// a space.
type Completer func(line string) (n int, words []string)

// NewLineEditor attaches an editor to a device as its front end: one that edits where
// c.Terminal() says that a person can be at the other end, elsewhere one that takes plain
// lines and shows each behind its prompt when it is read, so that a script's log reads
// like a session.
func NewLineEditor(c serial.Chardev, config EditorConfig) (LineEditor, error) {
	if c.Terminal() {
		return asEditor(newTermEditor(c, config))
	}
	return asEditor(newPlainEditor(c, config))
}

// asEditor keeps a nil pointer from becoming an interface that is not nil.
func asEditor[E LineEditor](e E, err error) (LineEditor, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}
