package img

import (
	"context"
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// MeasureOptions of [Measure].
type MeasureOptions struct {
	Session
	// Format of the new image, "" for raw.
	Format string
	// Options for creating it, as in CreateOptions; a size among them has no effect.
	Options blockdev.Options
	// Size of its disk in bytes, or nil for what Image holds.
	Size *int64
	// Image is what the new one is to hold.
	Image *Source
	// Snapshot of Image to measure, in place of its present contents.
	Snapshot SnapshotName
}

// Measurement is what [Measure] found.
type Measurement struct{ blockdev.Measurement }

// Measure tells how large a new image will be, without making it: of a given size, or for
// the contents of another image.
func Measure(ctx context.Context, o MeasureOptions) (m *Measurement, err error) {
	r := blockdev.MeasureRequest{}
	driver, err := o.parse(&r)
	if err != nil {
		return nil, err
	}
	if o.Image != nil {
		c := &conversion{o: ConvertOptions{Session: o.Session, Sources: []Source{*o.Image}, Snapshot: o.Snapshot}, graph: o.graph()}
		defer func() {
			if cerr := c.closeSources(); err == nil {
				err = cerr
			}
		}()
		if err := c.openSources(ctx); err != nil {
			return nil, err
		}
		r.Source, r.Size = c.src, c.src.Size()
		r.Bitmaps, _ = c.sources[0].Node.(blockdev.BitmapStore)
	} else if o.Size != nil {
		r.Size = *o.Size
	}
	if driver.Measure == nil {
		return nil, blockdev.Errorf(blockdev.ErrNotSupported, "measure", "",
			"Block driver '%s' does not support size measurement", driver.Name)
	}
	found, err := driver.Measure(ctx, r)
	if err != nil {
		return nil, err
	}
	return &Measurement{found}, nil
}

// Check tells if Format has all of Options.
func (o MeasureOptions) Check() error {
	_, err := o.parse(&blockdev.MeasureRequest{})
	return err
}

// parse finds the driver and reads the options.
func (o MeasureOptions) parse(r *blockdev.MeasureRequest) (*blockdev.Driver, error) {
	driver, table, err := CreateTable("", o.Format)
	if err != nil {
		return nil, err
	}
	options := o.Options.Clone()
	r.Backing.Name = options[optBackingFile]
	for _, k := range []string{optSize, optBackingFile, optBackingFormat} {
		if _, ok := table.Lookup(k); ok {
			options.Take(k)
		}
	}
	if r.Options, err = table.Parse(options); err != nil {
		return nil, withSizeHint(err)
	}
	return driver, nil
}

// Text renders a measurement as qemu-img measure does.
func (m *Measurement) Text() string {
	text := fmt.Sprintf("required size: %d\nfully allocated size: %d\n", m.Required, m.FullyAllocated)
	if m.Bitmaps != nil {
		text += fmt.Sprintf("bitmaps size: %d\n", *m.Bitmaps)
	}
	return text
}

// JSON renders a measurement as qemu-img measure --output=json does.
func (m *Measurement) JSON() string {
	var o object
	if m.Bitmaps != nil {
		o.add("bitmaps", *m.Bitmaps)
	}
	o.add("required", m.Required)
	o.add("fully-allocated", m.FullyAllocated)
	return prettyJSON(o) + "\n"
}
