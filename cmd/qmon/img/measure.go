package img

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/img"
)

const measureSyntax = "[--output=ofmt] [-O output_fmt] [-o options] " +
	"[--size N | [--image-opts] [-f fmt] [-l snapshot] [-U] filename]"

func runMeasure(t *tool, args []string) (int, error) {
	o := img.MeasureOptions{Session: t.session()}
	var src sourceFlags
	var create createOptions
	var output outputFlag
	fs := t.newFlagSet()
	src.add(fs)
	src.addForceShare(fs)
	create.add(fs)
	output.add(fs)
	fs.StringVarP(&o.Format, "output-format", "O", "raw", "")
	fs.VarP(funcValue(func(s string) (err error) { o.Snapshot, err = snapshotName(s); return err }), "snapshot", "l", "")
	fs.Var(funcValue(func(s string) error {
		n, err := sizeArgument("image size", s)
		o.Size = &n
		return err
	}), "size", "")
	operands, err := parseOptions(fs, args, false)
	if err != nil {
		return statusFailed, err
	}
	asJSON, err := output.json()
	if err == nil {
		err = checkMeasureOperands(operands, o, src)
	}
	if err != nil {
		return statusFailed, err
	}
	if create.help {
		return statusOK, t.optionHelp("", o.Format)
	}
	if err := checkTargetFormat(o.Format); err != nil {
		return statusFailed, err
	}
	o.Options = create.options
	if err := checkMeasureOptions(o); err != nil {
		return statusFailed, err
	}
	if len(operands) == 1 {
		s, err := src.source(operands[0])
		if err != nil {
			return statusFailed, err
		}
		o.Image = &s
	}
	m, err := img.Measure(t.ctx, o)
	if err != nil {
		return statusFailed, err
	}
	if asJSON {
		fmt.Fprint(t.stdout, m.JSON())
	} else {
		fmt.Fprint(t.stdout, m.Text())
	}
	return statusOK, nil
}

// checkMeasureOperands refuses what does not go together: a size, or an image and what is about
// one.
func checkMeasureOperands(operands []string, o img.MeasureOptions, src sourceFlags) error {
	switch {
	case len(operands) > 1:
		return errors.New("At most one filename argument is allowed.")
	case len(operands) == 0 && (src.format != nil || src.imageOpts || o.Snapshot != img.SnapshotName{}):
		return errors.New("--image-opts, -f, and -l require a filename argument.")
	case len(operands) == 0 && o.Size == nil:
		return errors.New("Either --size N or one filename must be specified.")
	case len(operands) == 1 && o.Size != nil:
		return errors.New("--size N cannot be used together with a filename.")
	}
	return src.check()
}

// checkMeasureOptions words what is wrong with -o as this command alone does.
func checkMeasureOptions(o img.MeasureOptions) error {
	driver, _, err := img.CreateTable("", o.Format)
	if err != nil {
		return err
	}
	if err := o.Check(); err != nil {
		return errors.Join(err, fmt.Errorf("Invalid options for file format '%s'", driver.Name))
	}
	return nil
}
