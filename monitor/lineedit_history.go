package monitor

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
)

const (
	// maxHistory is how many lines are remembered, and kept between runs.
	maxHistory = 500
	// maxHistoryFile bounds what is read of a history file; longer lines than an editor
	// takes can only come from another program.
	maxHistoryFile = maxHistory * (maxLine + 1)
)

// HistoryPath is where the command line keeps its history: qmon/history in the user's
// state directory, $XDG_STATE_HOME or ~/.local/state; empty if there is none.
func HistoryPath() string {
	dir := os.Getenv("XDG_STATE_HOME")
	if !filepath.IsAbs(dir) {
		home, err := os.UserHomeDir()
		if err != nil || !filepath.IsAbs(home) {
			return ""
		}
		dir = filepath.Join(home, ".local", "state")
	}
	return filepath.Join(dir, "qmon", "history")
}

// history is what has been entered, in this run and in earlier ones. A line that is
// entered again moves to the end. Whatever is wrong with the file, there is a history
// without it: a console does not fail over that.
type history struct {
	mu    sync.Mutex
	path  string
	old   []string // of earlier runs
	lines []string // of this run
}

// open reads the lines of earlier runs and has new ones added to the file.
func (h *history) open(path string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if path == "" {
		return
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return
	}
	h.path = path
	h.old = readHistory(path)
}

// readHistory returns the last lines of a history file, each once.
func readHistory(path string) []string {
	text, err := readTail(path)
	if err != nil {
		return nil
	}
	var lines []string
	seen := map[string]bool{}
	all := strings.Split(text, "\n")
	for i := len(all) - 1; i >= 0 && len(lines) < maxHistory; i-- {
		if line := all[i]; line != "" && !seen[line] {
			seen[line] = true
			lines = append(lines, line)
		}
	}
	slices.Reverse(lines)
	return lines
}

// readTail returns the lines in the last maxHistoryFile bytes of a file.
func readTail(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, os.ErrInvalid)
	}
	off := max(0, info.Size()-maxHistoryFile)
	text, err := io.ReadAll(io.NewSectionReader(f, off, maxHistoryFile))
	if off > 0 {
		_, text, _ = bytes.Cut(text, []byte("\n")) // it may begin within a line
	}
	return string(text), err
}

// add remembers a line that was entered.
func (h *history) add(line string) {
	if line == "" {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.lines = moveToEnd(h.lines, line)
	if h.path != "" {
		h.append(line)
	}
}

// moveToEnd adds a line to a list in which every line is once.
func moveToEnd(lines []string, line string) []string {
	lines = slices.DeleteFunc(lines, func(l string) bool { return l == line })
	lines = append(lines, line)
	return lines[max(0, len(lines)-maxHistory):]
}

// append adds a line to the file by one write at its end: programs that share it leave
// each other's lines alone.
func (h *history) append(line string) {
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return
	}
	_, _ = f.WriteString(line + "\n")
	_ = f.Close()
}

// session lists the lines of this run.
func (h *history) session() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.lines)
}

// all lists the lines that the up key finds.
func (h *history) all() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.old)
	for _, line := range h.lines {
		all = moveToEnd(all, line)
	}
	return all
}

// close shortens the file when it has grown to twice what is kept, by replacing it.
func (h *history) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.path == "" {
		return
	}
	text, err := readTail(h.path)
	if err != nil || strings.Count(text, "\n") <= 2*maxHistory {
		return
	}
	tmp, err := os.CreateTemp(filepath.Dir(h.path), "history-*")
	if err != nil {
		return
	}
	defer func() { _ = os.Remove(tmp.Name()) }()
	_, err = tmp.WriteString(strings.Join(readHistory(h.path), "\n") + "\n")
	if cerr := tmp.Close(); err == nil && cerr == nil {
		_ = os.Rename(tmp.Name(), h.path)
	}
}
