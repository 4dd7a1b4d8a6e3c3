// Command qmon is QEMU's block layer and monitor console in one program. Which part of it
// runs is told by its name, as a link to it may have, or by its first argument:
//
//	qmon ...                 the emulator    qemu-system-riscv64, qemu-system-x86_64
//	qmon img ...             disk images     qemu-img
//	qmon io ...              disk exerciser  qemu-io
//	qmon nbd ...             NBD server      qemu-nbd
package main

import (
	"os"
	"path/filepath"
	"strings"

	"github.com/qmon/qmon/cmd/qmon/img"
	"github.com/qmon/qmon/cmd/qmon/io"
	"github.com/qmon/qmon/cmd/qmon/nbd"
	"github.com/qmon/qmon/cmd/qmon/system"
	"github.com/qmon/qmon/internal/signals"
)

func main() {
	signals.IgnoreBrokenPipe()
	os.Exit(run(os.Args))
}

// run finds the tool that argv calls, and runs it.
func run(argv []string) int {
	prog := strings.TrimSuffix(filepath.Base(argv[0]), ".exe")
	args := argv[1:]
	switch prog {
	case "qemu-img":
		return img.Main(prog, args)
	case "qemu-io":
		return io.Main(prog, args)
	case "qemu-nbd":
		return nbd.Main(prog, args)
	}
	if len(args) > 0 {
		switch args[0] {
		case "img":
			return img.Main(prog+" img", args[1:])
		case "io":
			return io.Main(prog+" io", args[1:])
		case "nbd":
			return nbd.Main(prog+" nbd", args[1:])
		}
	}
	return system.Main(prog, args)
}
