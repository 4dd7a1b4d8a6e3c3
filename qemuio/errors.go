package qemuio

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// stream is where a failure is shown.
type stream uint8

const (
	toOut stream = iota + 1
	toErr
	toReport
)

// failure is a command's failure with what is shown of it.
type failure struct {
	to   stream
	text string // without a line's end
	err  error  // the cause, or nil
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

func (f *failure) show(c Config) {
	switch f.to {
	case toOut:
		fmt.Fprintln(c.Out, f.text)
	case toErr:
		fmt.Fprintln(c.Err, f.text)
	case toReport:
		c.Report(f.text)
	}
}

func wrap(to stream, text string, err error) error { return &failure{to, text, err} }

func complain(to stream, format string, args ...any) error {
	return wrap(to, fmt.Sprintf(format, args...), nil)
}

// Fail makes the error of a command that is shown through Config.Report.
func Fail(text string, err error) error { return wrap(toReport, text, err) }

// Refuse makes the error of a command that is shown where its results are.
func Refuse(text string) error { return wrap(toOut, text, nil) }

// requestFailed is the failure of a request: "read failed: Input/output error".
func requestFailed(what string, err error) error {
	if errors.Is(err, blockdev.ErrMismatch) {
		return wrap(toErr, blockdev.Message(err), err) // which node it was, and where
	}
	return wrap(toOut, what+": "+Message(err), err)
}

// ErrMismatch says that what was read is not what was expected.
var ErrMismatch = errors.New("pattern verification failed")

// Message is what QEMU shows of a failing request: the C library's words for its error
// number, which every failure has there.
func Message(err error) string {
	_, text := blockdev.SystemError(err)
	return text
}
