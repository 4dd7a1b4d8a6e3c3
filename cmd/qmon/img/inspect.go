package img

import (
	"fmt"

	"github.com/qmon/qmon/img"
)

const inspectSyntax = "[-f fmt] [--follow] [--restrict dir] filename"

func runInspect(t *tool, args []string) (int, error) {
	o := img.InspectOptions{Session: t.session()}
	var src sourceFlags
	fs := t.newFlagSet()
	src.add(fs)
	fs.BoolVar(&o.Follow, "follow", false, "")
	operands, err := parseOptions(fs, args, false)
	if err != nil {
		return statusFailed, err
	}
	if len(operands) != 1 {
		return statusFailed, usagef("Expecting one image file name")
	}
	if err := src.check(); err != nil {
		return statusFailed, err
	}
	if o.Image, err = src.source(operands[0], ""); err != nil {
		return statusFailed, err
	}
	report, err := img.Inspect(t.ctx, o)
	if err != nil {
		return statusFailed, err
	}
	fmt.Fprint(t.stdout, report.JSON())
	return statusOK, nil
}
