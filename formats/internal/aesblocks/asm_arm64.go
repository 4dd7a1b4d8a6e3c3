package aesblocks

import (
	"runtime"

	"golang.org/x/sys/cpu"
)

// Every ARM processor that macOS and Windows run on has the instructions.
var hardware = cpu.ARM64.HasAES || runtime.GOOS == "darwin" || runtime.GOOS == "windows"
