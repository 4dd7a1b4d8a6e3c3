package blockdev

import "strings"

// dirSeparators end a directory's name, or a drive's.
const dirSeparators = `/\:`

// isDriveLetter tells if a name begins with a drive ("C:" or `\\.\C:`), which is no
// protocol.
func isDriveLetter(name string) bool {
	name = strings.TrimPrefix(name, `\\.\`)
	if len(name) < 2 || name[1] != ':' {
		return false
	}
	c := name[0] | 0x20
	return c >= 'a' && c <= 'z'
}
