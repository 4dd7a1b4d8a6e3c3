package aesblocks

import "golang.org/x/sys/cpu"

var hardware = cpu.X86.HasAES && cpu.X86.HasSSE41
