package img

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/img"
)

const mapSyntax = "[--image-opts] [-f fmt] [--start-offset=offset] [--max-length=len] [--output=ofmt] [-U] filename"

func runMap(t *tool, args []string) (int, error) {
	var src sourceFlags
	var output outputFlag
	o := img.MapOptions{Session: t.session(), Length: -1}
	fs := t.newFlagSet()
	src.add(fs)
	src.addForceShare(fs)
	output.add(fs)
	fs.VarP(sizeVar("start offset", &o.Start), "start-offset", "s", "")
	fs.VarP(sizeVar("max length", &o.Length), "max-length", "l", "")
	name, err := oneImage(fs, args)
	if err != nil {
		return statusFailed, err
	}
	svg := output.word == "svg"
	asJSON, err := output.json()
	if err != nil && !svg {
		return statusFailed, err
	}
	if o.Image, err = src.source(name); err != nil {
		return statusFailed, err
	}
	if svg {
		l, err := img.MapLayout(t.ctx, o)
		if err != nil {
			return statusFailed, err
		}
		fmt.Fprint(t.stdout, l.SVG())
		return statusOK, nil
	}
	m, err := img.Map(t.ctx, o)
	switch {
	case m == nil || err != nil && asJSON:
		return statusFailed, err
	case asJSON:
		fmt.Fprint(t.stdout, m.JSON())
		return statusOK, nil
	}
	text, terr := m.Text()
	fmt.Fprint(t.stdout, text)
	return statusOK, errors.Join(err, terr)
}

// sizeVar is an option that is a size; what says in messages what it is for.
func sizeVar(what string, into *int64) funcValue {
	return func(s string) (err error) {
		*into, err = sizeArgument(what, s)
		return err
	}
}
