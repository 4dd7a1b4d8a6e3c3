//go:build !unix

package system

import "os"

// signalNumber is what an interrupt counts as where signals have no numbers.
func signalNumber(os.Signal) int { return 2 }
