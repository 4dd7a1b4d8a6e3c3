package vvfat

import "path/filepath"

// validOnHost tells if the system lets a file have that name: NUL, COM1 and the like, and
// names with characters that Windows gives a meaning, are none.
func validOnHost(name string) bool {
	return filepath.IsLocal(name) && guestName(name) == name
}
