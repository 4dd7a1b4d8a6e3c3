package img

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
)

const compareSyntax = "[--image-opts] [-f fmt] [-F fmt] [-T src_cache] [-p] [-q] [-s] [-U] filename1 filename2"

// Exit statuses of compare.
const (
	statusDiffer    = 1
	statusNoOpen    = 2
	statusNoMap     = 3
	statusReadError = 4
)

func runCompare(t *tool, args []string) (int, error) {
	var src sourceFlags
	o := img.CompareOptions{Session: t.session()}
	fs := t.newFlagSet()
	src.add(fs)
	src.addForceShare(fs)
	var format2 *string
	fs.VarP(nameVar(&format2), "b-format", "F", "")
	cache := fs.StringP("cache", "T", "writeback", "")
	progress := fs.BoolP("progress", "p", false, "")
	quiet := fs.BoolP("quiet", "q", false, "")
	fs.BoolVarP(&o.Strict, "strict", "s", false, "")
	operands, err := parseOptions(fs, args, false)
	if err != nil {
		return statusFailed, err
	}
	if len(operands) != 2 {
		return statusFailed, usagef("Expecting two image file names")
	}
	if err := src.check(); err != nil {
		return statusNoOpen, err
	}
	if o.A, err = src.cachedSource(operands[0], *cache); err != nil {
		return statusNoOpen, err
	}
	src.format = format2
	if err := src.check(); err != nil {
		return statusNoOpen, err
	}
	if o.B, err = src.cachedSource(operands[1], *cache); err != nil {
		return statusNoOpen, err
	}
	bar := t.newProgress(*progress && !*quiet, "compare", compareStep)
	o.Progress = bar.update
	c, err := img.Compare(t.ctx, o)
	if err != nil {
		status := compareStatus(err)
		if c.SizesDiffer && !*quiet && t.ctx.Err() == nil {
			t.report(err)
			fmt.Fprint(t.stdout, sizesDiffer)
			err = nil
		}
		return status, err
	}
	bar.clear()
	if !*quiet {
		fmt.Fprint(t.stdout, compareText(c))
	}
	bar.end()
	if c.Difference != img.Identical {
		return statusDiffer, nil
	}
	return statusOK, nil
}

const sizesDiffer = "Warning: Image size mismatch!\n"

func compareText(c img.Comparison) string {
	text := ""
	if c.SizesDiffer {
		text = sizesDiffer
	}
	switch c.Difference {
	case img.DifferentContent:
		return text + fmt.Sprintf("Content mismatch at offset %d!\n", c.Offset)
	case img.DifferentStatus:
		return text + fmt.Sprintf("Strict mode: Offset %d block status mismatch!\n", c.Offset)
	case img.DifferentSize:
		return text + "Strict mode: Image size mismatch!\n"
	}
	return text + "Images are identical.\n"
}

// compareStatus tells by the operation that failed.
func compareStatus(err error) int {
	var e *blockdev.Error
	if errors.As(err, &e) {
		switch e.Op {
		case "open":
			return statusNoOpen
		case "map":
			return statusNoMap
		}
	}
	return statusReadError
}
