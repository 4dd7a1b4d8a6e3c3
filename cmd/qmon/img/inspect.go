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
	name, err := oneImage(fs, args)
	if err != nil {
		return statusFailed, err
	}
	if o.Image, err = src.source(name); err != nil {
		return statusFailed, err
	}
	report, err := img.Inspect(t.ctx, o)
	if err != nil {
		return statusFailed, err
	}
	fmt.Fprint(t.stdout, report.JSON())
	return statusOK, nil
}
