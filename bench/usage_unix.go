//go:build unix

package main

import (
	"os"
	"runtime"
	"syscall"
)

// peakMemory is the largest resident set of an ended process, in bytes.
func peakMemory(p *os.ProcessState) int64 {
	u, ok := p.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	peak := int64(u.Maxrss) //nolint:unconvert // it is narrower on 32-bit systems
	if runtime.GOOS == "darwin" {
		return peak
	}
	return peak << 10 // Linux and the BSDs count KiB
}
