package img

import (
	"fmt"

	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/img"
)

const commitSyntax = "[--image-opts] [-q] [-f fmt] [-t cache] filename"

func runCommit(t *tool, args []string) (int, error) {
	var src sourceFlags
	fs := newFlagSet()
	src.add(fs)
	cache := fs.StringP("cache", "t", "writeback", "")
	quiet := fs.BoolP("quiet", "q", false, "")
	fs.VarP(notYet("-b"), "base", "b", "")
	fs.VarP(notYet("-r"), "rate-limit", "r", "")
	fs.VarPF(notYet("-d"), "drop", "d", "").NoOptDefVal = "true"
	fs.VarPF(notYet("-p"), "progress", "p", "").NoOptDefVal = "true"
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
	o := img.CommitOptions{Session: t.session()}
	if o.Image, err = src.source(operands[0], ""); err != nil {
		return statusFailed, err
	}
	mode, ok := driveopt.CacheMode(*cache)
	if !ok {
		return statusFailed, fmt.Errorf("Invalid cache option: %s", *cache)
	}
	o.Image.Cache = mode
	if err := img.Commit(t.ctx, o); err != nil {
		return statusFailed, err
	}
	if !*quiet {
		fmt.Fprintln(t.stdout, "Image committed.")
	}
	return statusOK, nil
}
