package img

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
)

const resizeSyntax = "[--image-opts] [-f fmt] [--preallocation=prealloc] [-q] [--shrink] filename [+ | -]size"

func runResize(t *tool, args []string) (int, error) {
	var src sourceFlags
	o := img.ResizeOptions{Session: t.session()}
	// The last argument may be a negative size, and is never an option.
	if len(args) == 0 {
		return statusFailed, usagef("Not enough arguments")
	}
	size := args[len(args)-1]
	fs := t.newFlagSet()
	src.add(fs)
	quiet := fs.BoolP("quiet", "q", false, "")
	fs.StringVar(&o.Preallocation, "preallocation", "off", "")
	fs.BoolVar(&o.Shrink, "shrink", false, "")
	operands, err := parseOptions(fs, args[:len(args)-1], false)
	switch {
	case size == "-h" || size == "--help":
		return statusFailed, errHelp
	case err != nil:
		return statusFailed, err
	case o.Preallocation == "":
		return statusFailed, errors.New("Invalid preallocation mode ''")
	case len(operands) == 0:
		return statusFailed, usagef("Not enough arguments")
	case len(operands) != 1:
		return statusFailed, usagef("Expecting image file name and size")
	}
	if err := src.check(); err != nil {
		return statusFailed, err
	}
	if o.Size, err = parseSizeChange(size); err != nil {
		return statusFailed, err
	}
	if o.Image, err = src.source(operands[0]); err != nil {
		return statusFailed, err
	}
	if _, err := img.Resize(t.ctx, o); err != nil {
		t.report(err)
		if errors.Is(err, img.ErrShrink) {
			t.errorf("warning: %s", img.ShrinkWarning)
		}
		return statusFailed, nil
	}
	if !*quiet {
		fmt.Fprintln(t.stdout, "Image resized.")
	}
	return statusOK, nil
}

// parseSizeChange reads "size", "+size" or "-size".
func parseSizeChange(s string) (img.SizeChange, error) {
	var c img.SizeChange
	sign := int64(1)
	if s != "" && (s[0] == '+' || s[0] == '-') {
		c.Relative = true
		if s[0] == '-' {
			sign = -1
		}
		s = s[1:]
	}
	n, err := blockdev.ParseSize(s)
	switch {
	case errors.Is(err, blockdev.ErrRange):
		n = 0 // over the largest size: refused as no positive one
		c.Relative = false
	case err != nil:
		return c, fmt.Errorf("Parameter 'size' expects a non-negative number below 2^64%s", img.SizeHint)
	}
	c.Bytes = sign * n
	return c, nil
}
