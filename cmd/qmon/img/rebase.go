package img

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/img"
)

const rebaseSyntax = "[--image-opts] [-U] [-q] [-f fmt] [-t cache] [-T src_cache] [-p] [-u] -b backing_file [-F backing_fmt] filename"

// rebaseStep is the percents between two lines of progress.
const rebaseStep = 1.0

func runRebase(t *tool, args []string) (int, error) {
	var src sourceFlags
	o := img.RebaseOptions{Session: t.session()}
	fs := t.newFlagSet()
	src.add(fs)
	fs.BoolVarP(&o.BackingForceShare, "force-share", "U", false, "")
	backing := fs.StringP("backing", "b", "", "")
	fs.StringVarP(&o.BackingFormat, "backing-format", "F", "", "")
	fs.BoolVarP(&o.Unsafe, "unsafe", "u", false, "")
	cache := fs.StringP("cache", "t", "writeback", "")
	backingCache := fs.StringP("src-cache", "T", "writeback", "")
	progress := fs.BoolP("progress", "p", false, "")
	quiet := fs.BoolP("quiet", "q", false, "")
	operands, err := parseOptions(fs, args, false)
	switch {
	case err != nil:
		return statusFailed, err
	case len(operands) != 1:
		return statusFailed, usagef("Expecting one image file name")
	case !fs.Changed("backing") && !o.Unsafe:
		return statusFailed, usagef("Must specify backing file (-b) or use unsafe mode (-u)")
	}
	if fs.Changed("backing-format") && o.BackingFormat == "" {
		return statusFailed, errors.New("Invalid format name: ''")
	}
	if err := src.check(); err != nil {
		return statusFailed, err
	}
	mode, ok := driveopt.CacheMode(*cache)
	if !ok {
		return statusFailed, fmt.Errorf("Invalid cache option: %s", *cache)
	}
	if o.BackingCache, ok = driveopt.CacheMode(*backingCache); !ok {
		return statusFailed, fmt.Errorf("Invalid source cache option: %s", *backingCache)
	}
	if o.Image, err = src.source(operands[0]); err != nil {
		return statusFailed, err
	}
	o.Image.Cache = mode
	o.Backing = *backing
	bar := t.newProgress(*progress && !*quiet, "rebase", rebaseStep)
	o.Progress = bar.update
	if err := img.Rebase(t.ctx, o); err != nil {
		return statusFailed, err
	}
	bar.end()
	return statusOK, nil
}
