//go:build !windows

package vvfat

// validOnHost tells if the system lets a file have that name.
func validOnHost(string) bool { return true }
