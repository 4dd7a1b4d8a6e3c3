package io

import (
	"bufio"
	"io"
	"os"
	"sync"

	"golang.org/x/term"
)

// pipeBuffer is how much the C library keeps back of what goes to a pipe or file.
const pipeBuffer = 4096

// output is standard output where it is no terminal: what is written appears when it is
// flushed, behind errors that came meanwhile, as with a program that uses the C library.
type output struct {
	mu sync.Mutex
	w  *bufio.Writer
}

func newOutput(f *os.File) io.Writer {
	if term.IsTerminal(int(f.Fd())) {
		return f
	}
	return &output{w: bufio.NewWriterSize(f, pipeBuffer)}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Write(p)
}

// Flush writes what was kept back.
func (o *output) Flush() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.w.Flush()
}
