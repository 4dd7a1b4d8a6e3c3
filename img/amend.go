package img

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

// AmendOptions of [Amend].
type AmendOptions struct {
	Session
	Image Source
	// Options to change, as -o gives them.
	Options blockdev.Options
	// Force allows what cannot be undone, such as erasing the last key of an image.
	Force bool
	// Progress, if set, is called with how many of total steps are done.
	Progress func(done, total int64)
}

// Amend changes properties of an image that are otherwise fixed when it is made.
func Amend(ctx context.Context, o AmendOptions) (err error) {
	v, err := o.open(ctx, o.Image, access{writable: true})
	if err != nil {
		return err
	}
	defer release(v, &err)
	if v.Driver == nil {
		return noAmendment(o.Image.label(), "")
	}
	a, ok := v.Node.(blockdev.Amender)
	if !ok {
		return noAmendment(o.Image.label(), v.Driver.Name)
	}
	values, err := parseAmendment(v.Driver, o.Options)
	if err != nil {
		return err
	}
	return a.Amend(ctx, blockdev.AmendOptions{Values: values, Force: o.Force, Progress: o.Progress})
}

// AmendTable is every option that images of a format can be amended in.
func AmendTable(format string) (blockdev.OptionTable, error) {
	d, err := blockdev.LookupDriver(format)
	if err != nil {
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "amend", "", "Unknown file format '%s'", format)
	}
	if d.AmendOptions == nil {
		return nil, noAmendment("", format)
	}
	return d.AmendOptions, nil
}

// AmendFormat is the format of an image, "" if it cannot be told.
func AmendFormat(ctx context.Context, o AmendOptions) (format string, err error) {
	v, err := o.open(ctx, o.Image, access{noIO: true, noBacking: true})
	if err != nil {
		return "", err
	}
	defer release(v, &err)
	if v.Driver == nil {
		return "", nil
	}
	return v.Driver.Name, nil
}

func parseAmendment(d *blockdev.Driver, options blockdev.Options) (blockdev.Values, error) {
	for _, k := range options.Keys() {
		if _, ok := d.AmendOptions.Lookup(k); ok {
			continue
		}
		hint := ""
		if _, ok := d.CreateOptions.Lookup(k); ok {
			hint = "\nThis option is only supported for image creation"
		}
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "amend", "", "Invalid parameter '%s'%s", k, hint)
	}
	values, err := d.AmendOptions.Parse(options)
	if err != nil {
		return nil, withSizeHint(err)
	}
	return values, nil
}

func noAmendment(file, format string) error {
	return blockdev.Errorf(blockdev.ErrNotSupported, "amend", file, "Format driver '%s' does not support option amendment", format)
}
