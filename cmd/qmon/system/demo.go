package system

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
)

// The disk that the program makes when it is started with nothing.
const (
	demoDisk      = "qmon-demo.qcow2"
	demoDiskBytes = 64 << 20
)

// demoText says what to try.
const demoText = `A small guest runs on the disk %s. Try this; C-a is the Control and A keys, C-a h helps:
  count             a counter that runs: let it
  C-a c  savevm a   the (qemu) prompt: save the whole machine into the disk
  C-a c  write 0 x  back at the guest: wreck sector 0, type "reboot" even
  C-a c  loadvm a   bring it back: memory, disk, and the counter where it was
  C-a x             the end; "qmon -loadvm a" on the same disk goes on where it was

`

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
	o.drives = append(o.drives, driveArgument{demoDisk, spec})
	o.bios = builtinGuest
	fmt.Fprintf(out, demoText, demoDisk)
	return nil
}

// builtinGuest is the -bios that means the guest inside the program.
const builtinGuest = "builtin"
