//go:build !unix

package img

import "os"

// progressSignal is nil: there is no such signal.
var progressSignal os.Signal
