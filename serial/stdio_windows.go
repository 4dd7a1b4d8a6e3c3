package serial

import "os"

// stdinReader reads the console. A read that waits for a key cannot be interrupted: after
// Close, its goroutine stays until one is hit, and ends then.
type stdinReader struct{ *os.File }

func openStdin() (stdinReader, error) { return stdinReader{os.Stdin}, nil }

// Close leaves the program's standard input open.
func (stdinReader) Close() error { return nil }
