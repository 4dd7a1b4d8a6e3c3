package io

import (
	"context"
	"errors"
	"maps"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/qemuio"
)

// reopen closes the file and opens it with other options. If that fails it is opened as
// it was.
func (t *tool) reopen(ctx context.Context, r qemuio.Reopening) error {
	if t.opened.snapshot {
		return blockdev.Errorf(blockdev.ErrNotSupported, "reopen", *t.opened.filename, "a temporary image cannot be opened again")
	}
	old := t.opened
	next := old
	next.options = maps.Clone(old.options)
	t.supersede(next.options, r.Options)
	maps.Copy(next.options, r.Options)
	next.readOnly = !t.exerciser.Drive().Medium().Mode().Writable
	if r.Writable != nil {
		next.readOnly = !*r.Writable
	}
	if r.Cache != nil {
		next.cache = *r.Cache
		next.nativeAIO = false // that it needs cache.direct is for opening only, as with QEMU
	}
	if err := t.close(); err != nil {
		return err
	}
	if err := t.insert(ctx, next); err != nil {
		return errors.Join(err, t.insert(ctx, old))
	}
	return nil
}

// supersede takes the options out of old that do not count beside the newer ones.
func (t *tool) supersede(old, newer blockdev.Options) {
	driver := t.exerciser.Drive().Medium().Driver
	for name := range newer {
		if o, known := driver.OpenOptions.Lookup(name); known {
			for _, s := range o.Supersedes {
				delete(old, s)
			}
		}
	}
}
