package img

import (
	"fmt"

	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/img"
)

const commitSyntax = "[--image-opts] [-q] [-f fmt] [-t cache] [-b base] [-r rate_limit] [-d] [-p] filename"

func runCommit(t *tool, args []string) (int, error) {
	o := img.CommitOptions{Session: t.session()}
	var src sourceFlags
	fs := t.newFlagSet()
	src.add(fs)
	cache := fs.StringP("cache", "t", "writeback", "")
	quiet := fs.BoolP("quiet", "q", false, "")
	showProgress := fs.BoolP("progress", "p", false, "")
	fs.StringVarP(&o.Base, "base", "b", "", "")
	fs.BoolVarP(&o.Keep, "drop", "d", false, "")
	fs.VarP(rateLimit(&o.RateLimit), "rate-limit", "r", "")
	name, err := oneImage(fs, args)
	if err != nil {
		return statusFailed, err
	}
	if o.Image, err = src.source(name); err != nil {
		return statusFailed, err
	}
	if fs.Changed("base") && o.Base == "" {
		return statusFailed, fmt.Errorf("Did not find '' in the backing chain of '%s'", name)
	}
	mode, ok := driveopt.CacheMode(*cache)
	if !ok {
		return statusFailed, fmt.Errorf("Invalid cache option: %s", *cache)
	}
	o.Image.Cache = mode
	bar := t.newProgress(*showProgress && !*quiet, "commit", convertStep)
	o.Progress = bar.update
	if err := img.Commit(t.ctx, o); err != nil {
		bar.clear()
		return statusFailed, err
	}
	bar.complete()
	bar.end()
	if !*quiet {
		fmt.Fprintln(t.stdout, "Image committed.")
	}
	return statusOK, nil
}

// rateLimit is an option that takes bytes a second.
func rateLimit(n *int64) funcValue {
	return func(s string) (err error) {
		*n, err = sizeArgument("rate limit", s)
		return err
	}
}
