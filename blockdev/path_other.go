//go:build !windows

package blockdev

// dirSeparators end a directory's name.
const dirSeparators = "/"

// isDriveLetter tells if a name begins with a drive ("C:"): nowhere but on Windows.
func isDriveLetter(string) bool { return false }
