package img

import (
	"errors"

	"github.com/spf13/pflag"

	"github.com/qmon/qmon/img"
)

const bitmapSyntax = "(--add [-g granularity] | --remove | --clear | --enable | --disable | --merge source_bitmap)... " +
	"[-b source_file [-F source_fmt]] [--image-opts] [-f fmt] filename bitmap"

// bitmapFlags are the options of bitmap.
type bitmapFlags struct {
	o          img.BitmapOptions
	src        sourceFlags
	from       *string
	fromFormat *string
}

func (b *bitmapFlags) flagSet(t *tool) *pflag.FlagSet {
	fs := t.newFlagSet()
	b.src.add(fs)
	for _, kind := range []img.BitmapActionKind{
		img.BitmapAdd, img.BitmapRemove, img.BitmapClear, img.BitmapEnable, img.BitmapDisable,
	} {
		fs.VarPF(funcValue(func(string) error { return b.act(kind, "") }), string(kind), "", "").NoOptDefVal = "true"
	}
	fs.Var(funcValue(func(s string) error { return b.act(img.BitmapMerge, s) }), "merge", "")
	fs.VarP(funcValue(b.setGranularity), "granularity", "g", "")
	fs.VarP(nameVar(&b.from), "source-file", "b", "")
	fs.VarP(nameVar(&b.fromFormat), "source-format", "F", "")
	return fs
}

func (b *bitmapFlags) act(kind img.BitmapActionKind, source string) error {
	b.o.Actions = append(b.o.Actions, img.BitmapAction{Kind: kind, Source: source})
	return nil
}

func (b *bitmapFlags) setGranularity(s string) (err error) {
	b.o.Granularity, err = sizeArgument("granularity", s)
	return err
}

func (b *bitmapFlags) does(kind img.BitmapActionKind) bool {
	for _, a := range b.o.Actions {
		if a.Kind == kind {
			return true
		}
	}
	return false
}

// check refuses options that do not go together.
func (b *bitmapFlags) check(operands []string) error {
	if err := b.src.check(); err != nil {
		return err
	}
	switch {
	case len(b.o.Actions) == 0:
		return errors.New("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge")
	case b.o.Granularity != 0 && !b.does(img.BitmapAdd):
		return errors.New("granularity only supported with --add")
	case b.fromFormat != nil && b.from == nil:
		return errors.New("-F only supported with -b")
	case b.from != nil && !b.does(img.BitmapMerge):
		return errors.New("Merge bitmap source file only supported with --merge")
	case len(operands) != 2:
		return errors.New("Expecting filename and bitmap name")
	}
	return nil
}

func runBitmap(t *tool, args []string) (int, error) {
	b := &bitmapFlags{}
	operands, err := parseOptions(b.flagSet(t), args, false)
	if err == nil {
		err = b.check(operands)
	}
	if err != nil {
		return statusFailed, err
	}
	b.o.Session, b.o.Name = t.session(), operands[1]
	if b.o.Image, err = b.src.source(operands[0]); err != nil {
		return statusFailed, err
	}
	if b.from != nil {
		from, err := (&sourceFlags{format: b.fromFormat}).source(*b.from)
		if err != nil {
			return statusFailed, err
		}
		b.o.From = &from
	}
	return statusOK, img.ChangeBitmap(t.ctx, b.o)
}
