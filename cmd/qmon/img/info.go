package img

import (
	"fmt"

	"github.com/qmon/qmon/img"
)

const infoSyntax = "[--image-opts] [-f fmt] [--output=ofmt] [--backing-chain] [-U] filename"

func runInfo(t *tool, args []string) (int, error) {
	var src sourceFlags
	var output outputFlag
	fs := t.newFlagSet()
	src.add(fs)
	src.addForceShare(fs)
	output.add(fs)
	chain := fs.Bool("backing-chain", false, "")
	name, err := oneImage(fs, args)
	if err != nil {
		return statusFailed, err
	}
	asJSON, err := output.json()
	if err != nil {
		return statusFailed, err
	}
	if err := src.check(); err != nil {
		return statusFailed, err
	}
	o := img.InfoOptions{Session: t.session(), Chain: *chain}
	if o.Image, err = src.source(name); err != nil {
		return statusFailed, err
	}
	info, err := img.ReadInfo(t.ctx, o)
	if err != nil {
		return statusFailed, err
	}
	switch {
	case !asJSON:
		fmt.Fprint(t.stdout, info.ChainText("\n"))
	case *chain:
		fmt.Fprint(t.stdout, info.ChainJSON())
	default:
		fmt.Fprint(t.stdout, info.JSON())
	}
	return statusOK, nil
}
