package img

import (
	"fmt"

	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/img"
)

const amendSyntax = "[--image-opts] [-p] [-q] [-f fmt] [-t cache] [--force] -o options filename"

func runAmend(t *tool, args []string) (int, error) {
	var src sourceFlags
	var amend createOptions
	fs := t.newFlagSet()
	src.add(fs)
	amend.add(fs)
	cache := fs.StringP("cache", "t", "writeback", "")
	showProgress := fs.BoolP("progress", "p", false, "")
	quiet := fs.BoolP("quiet", "q", false, "")
	o := img.AmendOptions{Session: t.session(), Options: amend.options}
	fs.BoolVar(&o.Force, "force", false, "")
	operands, err := parseOptions(fs, args, false)
	switch {
	case err != nil:
		return statusFailed, err
	case !fs.Changed("options"):
		return statusFailed, usagef("Must specify options (-o)")
	case amend.help && src.format != nil:
		return statusOK, t.amendHelp(*src.format)
	case len(operands) != 1:
		return statusFailed, fmt.Errorf("Expecting one image file name")
	}
	if o.Image, err = src.source(operands[0]); err != nil {
		return statusFailed, err
	}
	var ok bool
	if o.Image.Cache, ok = driveopt.CacheMode(*cache); !ok {
		return statusFailed, fmt.Errorf("Invalid cache option: %s", *cache)
	}
	if amend.help {
		format, err := img.AmendFormat(t.ctx, o)
		if err != nil {
			return statusFailed, err
		}
		return statusOK, t.amendHelp(format)
	}
	p := t.newProgress(*showProgress && !*quiet, "Amending", convertStep)
	defer p.end()
	o.Progress = p.update
	if err := img.Amend(t.ctx, o); err != nil {
		p.clear()
		return statusFailed, err
	}
	p.complete()
	return statusOK, nil
}

// amendHelp lists the options that images of a format can be amended in.
func (t *tool) amendHelp(format string) error {
	table, err := img.AmendTable(format)
	if err == nil {
		fmt.Fprintf(t.stdout, "Amend options for '%s':\n%s", format, img.OptionHelp(table))
	}
	return err
}
