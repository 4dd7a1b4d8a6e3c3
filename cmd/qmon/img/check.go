package img

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
)

const checkSyntax = "[--image-opts] [-q] [-f fmt] [--output=ofmt] [-r [leaks | all]] [-T src_cache] [-U] filename"

// Exit statuses of check.
const (
	statusCorrupt      = 2
	statusLeaks        = 3
	statusNotSupported = 63
)

func runCheck(t *tool, args []string) (int, error) {
	var src sourceFlags
	var output outputFlag
	o := img.CheckOptions{Session: t.session()}
	fs := t.newFlagSet()
	src.add(fs)
	src.addForceShare(fs)
	output.add(fs)
	cache := fs.StringP("cache", "T", "writeback", "")
	quiet := fs.BoolP("quiet", "q", false, "")
	fs.VarP(funcValue(func(mode string) error { return setRepair(&o.Repair, mode) }), "repair", "r", "")
	name, err := oneImage(fs, args)
	if err != nil {
		return statusFailed, err
	}
	asJSON, err := output.json()
	if err != nil {
		return statusFailed, err
	}
	if o.Image, err = src.cachedSource(name, *cache); err != nil {
		return statusFailed, err
	}
	o.Repair.Report = func(f blockdev.Finding) { fmt.Fprintln(t.stderr, f.Text) }
	r, err := img.Check(t.ctx, o)
	if errors.Is(err, img.ErrNoCheck) {
		return statusNotSupported, err
	}
	if err != nil {
		return statusFailed, err
	}
	switch {
	case asJSON:
		fmt.Fprint(t.stdout, r.JSON())
	case !*quiet:
		fmt.Fprint(t.stdout, r.Text())
	}
	return checkStatus(r), nil
}

// setRepair reads the argument of -r.
func setRepair(o *blockdev.CheckOptions, mode string) error {
	switch mode {
	case "leaks":
		o.RepairLeaks = true
	case "all":
		o.RepairLeaks, o.RepairErrors = true, true
	default:
		return usagef("Unknown option value for -r (expecting 'leaks' or 'all'): %s", mode)
	}
	return nil
}

func checkStatus(r *img.CheckReport) int {
	switch {
	case r.CheckErrors > 0:
		return statusFailed
	case r.Corruptions > 0:
		return statusCorrupt
	case r.Leaks > 0:
		return statusLeaks
	}
	return statusOK
}
