package img

import (
	"errors"
	"io/fs"
	"os"
)

// What is done here to files by name concerns plain files only: names of protocols name
// none, and devices are not regular.

// fileExists tells if there is something of that name.
func fileExists(name string) bool {
	_, err := os.Lstat(name)
	return !errors.Is(err, fs.ErrNotExist)
}

// sameFile tells if both names lead to one file.
func sameFile(a, b string) bool {
	one, err := os.Stat(a)
	if err != nil {
		return false
	}
	other, err := os.Stat(b)
	return err == nil && os.SameFile(one, other)
}

// removeFile removes a regular file, and tells if it did.
func removeFile(name string) bool {
	return isRegular(name) && os.Remove(name) == nil
}

// emptyFile truncates a regular file, and tells if it did.
func emptyFile(name string) bool {
	return isRegular(name) && os.Truncate(name, 0) == nil
}

func isRegular(name string) bool {
	st, err := os.Stat(name)
	return err == nil && st.Mode().IsRegular()
}
