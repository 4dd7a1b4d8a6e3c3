package parent

import (
	"path"
	"strings"
)

// WindowsName is the file name of a parent that an image has as paths of Windows: the relative
// one, else the last part of the first of the others. What is before that is about a drive and
// folders of another machine.
func WindowsName(relative string, others ...string) string {
	slashes := func(p string) string { return strings.ReplaceAll(p, `\`, "/") }
	if relative != "" {
		return path.Clean(slashes(relative))
	}
	for _, p := range others {
		if p != "" {
			return path.Base(slashes(p))
		}
	}
	return ""
}
