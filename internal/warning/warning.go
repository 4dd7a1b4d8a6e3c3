// Package warning prints what the tools tell their users beside results and errors.
package warning

import (
	"fmt"
	"io"
	"strings"
)

// Printer makes a function that prints texts to w: warnings behind the name of the program, as
// QEMU's tools do, and anything else as it is.
func Printer(w io.Writer, program string) func(text string) {
	return func(text string) {
		if strings.HasPrefix(text, "warning: ") {
			text = program + ": " + text
		}
		fmt.Fprint(w, text)
	}
}
