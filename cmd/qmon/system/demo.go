package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
)

// The disk that the program makes when it is started with nothing.
const (
	demoDisk      = "qmon-demo.qcow2"
	demoDiskBytes = 64 << 20
)

// demoText says what to try.
const demoText = `A small machine starts, on the disk %s. At its prompt, try:
  text 0 9 hello     write to the disk; "show 0 9" shows it, and "count" counts seconds
  C-a c, savevm a    Control-A, then c: the (qemu) prompt. Save memory, devices and disk
  C-a c, text 0 9 oh back at the guest: change what you like
  C-a c, loadvm a    all of it is as it was; C-a c goes back to the guest
  C-a c, change ide1-cd0 FILE raw
                     another CD, any file; the guest's "cd" says what it is, "eject" opens the tray
  C-a x              end. "qmon -loadvm a" goes on from there, another day

`

// isDemo tells if the command line leaves everything open: what to run, and on which disk.
func (o *options) isDemo() bool {
	if strings.HasPrefix(o.program, "qemu-system-") || len(o.drives) > 0 {
		return false
	}
	for name := range o.given {
		if !slices.Contains(demoOptions, name) {
			return false
		}
	}
	return true
}

// demoOptions may be given without it being any less of a demonstration.
var demoOptions = []string{"loadvm", "snapshot", "nographic", "S", "icount", "m", "name"}

// demo turns an empty command line into the built-in guest on a disk of its own.
func demo(o *options, out io.Writer) error {
	if _, err := os.Stat(demoDisk); errors.Is(err, fs.ErrNotExist) {
		var g blockdev.Graph
		if err := g.Create(context.Background(), "qcow2", demoDisk, demoDiskBytes, nil, blockdev.Reference{}); err != nil {
			return err
		}
	}
	spec := driveopt.New(demoDisk, "", 0)
	spec.Format = "qcow2"
	cd := driveopt.New("", "ide", 2)
	cd.CDROM = true
	o.drives = append(o.drives, driveArgument{demoDisk, spec}, driveArgument{"", cd})
	o.bios = builtinGuest
	fmt.Fprintf(out, demoText, demoDisk)
	return nil
}

// builtinGuest is the -bios that means the guest inside the program.
const builtinGuest = "builtin"
