package blockdev

import (
	"errors"
	"fmt"
	"strings"
)

// The kinds of error. Every error of the block layer matches exactly one of these, or is
// an operating system error, with [errors.Is].
var (
	// ErrCorrupt: the image contradicts its format's specification.
	ErrCorrupt = errors.New("image is corrupt")
	// ErrFormat: the file is not an image of the format asked for.
	ErrFormat = errors.New("wrong image format")
	// ErrNotSupported: valid, but nothing this driver, node or system can do.
	ErrNotSupported = errors.New("not supported")
	// ErrReadOnly: a write to something opened read-only.
	ErrReadOnly = errors.New("read-only")
	// ErrRange: an offset or length outside the node.
	ErrRange = errors.New("out of range")
	// ErrLimit: a size or count over a named limit.
	ErrLimit = errors.New("over a limit")
	// ErrInvalid: an option or argument that makes no sense.
	ErrInvalid = errors.New("invalid argument")
	// ErrInUse: the image is locked by somebody else, or the node has users.
	ErrInUse = errors.New("in use")
	// ErrDenied: the gate did not let a reference be followed.
	ErrDenied = errors.New("denied")
	// ErrNotFound: no such driver, node, drive or snapshot.
	ErrNotFound = errors.New("not found")
	// ErrExists: the name is taken.
	ErrExists = errors.New("exists already")
	// ErrNoMedium: the drive is empty, or its tray is open.
	ErrNoMedium = errors.New("no medium")
	// ErrMismatch: two images that have to say the same do not.
	ErrMismatch = errors.New("contents differ")
	// ErrNoSpace: the file cannot grow further.
	ErrNoSpace = errors.New("no space")
)

// Error is what operations of the block layer return: a stable kind, where it happened,
// and the cause. Text is the sentence QEMU prints for it, where QEMU has one; [Message]
// extracts it for people and programs that compare with QEMU.
type Error struct {
	Kind   error  // one of the Err values above
	Op     string // "open", "read", "write", "map", "flush", "create", ...
	File   string // the file or node concerned, as its user named it
	Offset int64  // where in File, or NoOffset
	Text   string // what is wrong
	Err    error  // the cause, or nil
}

// NoOffset is the Offset of an Error that is about no particular place.
const NoOffset int64 = -1

// Error gives everything: the operation, the file, the offset, the text, the cause.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op)
		b.WriteByte(' ')
	}
	if e.File != "" {
		b.WriteString(e.File)
	}
	if e.Offset != NoOffset {
		fmt.Fprintf(&b, " at offset %#x", e.Offset)
	}
	if b.Len() > 0 {
		b.WriteString(": ")
	}
	b.WriteString(e.message())
	return b.String()
}

func (e *Error) message() string {
	switch {
	case e.Text == "" && e.Err != nil:
		return Message(e.Err)
	case e.Text == "" && e.Kind != nil:
		return e.Kind.Error()
	case e.Err != nil:
		return e.Text + ": " + Message(e.Err)
	}
	return e.Text
}

// Unwrap makes both the kind and the cause visible to errors.Is and errors.As.
func (e *Error) Unwrap() []error {
	var out []error
	if e.Kind != nil {
		out = append(out, e.Kind)
	}
	if e.Err != nil {
		out = append(out, e.Err)
	}
	return out
}

// Message is the text of err as QEMU words it: for an [Error] its Text and the texts of
// its causes joined by ": ", without operation and offset; for an operating system error
// the C library's words ("No such file or directory").
func Message(err error) string {
	if err == nil {
		return ""
	}
	switch e := err.(type) {
	case *Error:
		return e.message()
	case interface{ Unwrap() []error }: // errors.Join
		var lines []string
		for _, part := range e.Unwrap() {
			lines = append(lines, Message(part))
		}
		return strings.Join(lines, "\n")
	}
	if s, ok := systemMessage(err); ok {
		return s
	}
	return err.Error()
}

// Errorf makes an Error of the given kind about file; the text is formatted.
func Errorf(kind error, op, file, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, File: file, Offset: NoOffset, Text: fmt.Sprintf(format, args...)}
}

// Because makes the errors of an operation that failed because of err, as QEMU reports them:
// what went wrong below, and then what that means, with the error number's words.
func Because(text string, err error) error {
	_, words := SystemError(err)
	failed := Errorf(err, "", "", "%s: %s", text, words)
	if Message(err) == words {
		return failed
	}
	return errors.Join(err, failed)
}

// Messages is what to report of err: of joined errors the message of each.
func Messages(err error) []string {
	several, ok := err.(interface{ Unwrap() []error })
	if _, one := err.(*Error); one || !ok {
		return []string{Message(err)}
	}
	var out []string
	for _, e := range several.Unwrap() {
		out = append(out, Messages(e)...)
	}
	return out
}

// ErrorAt is Errorf with the offset in file that is at fault.
func ErrorAt(kind error, op, file string, off int64, format string, args ...any) *Error {
	return &Error{Kind: kind, Op: op, File: file, Offset: off, Text: fmt.Sprintf(format, args...)}
}
