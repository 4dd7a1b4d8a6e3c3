package qemuio

import (
	"context"
	"strings"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/internal/qemuopts"
)

var reopenCommands = []Command{{
	Name: "reopen", Args: "[(-r|-w)] [-c cache] [-o options]", Help: "reopens an image with new options",
	Details: reopenDetails, MaxArgs: Any, Options: "c:o:rw", Run: reopen,
}}

// Reopening says what is to be different about an open image. See Config.Reopen.
type Reopening struct {
	Writable *bool               // nil: as it is
	Cache    *blockdev.CacheMode // nil: as it is
	Options  blockdev.Options
}

func (c *Call) reopening() (r Reopening, err error) {
	r.Options = blockdev.Options{}
	for _, o := range c.Options {
		switch o.Letter {
		case 'r', 'w':
			if r.Writable != nil {
				return r, complain(toReport, "Only one -r/-w option may be given")
			}
			writable := o.Letter == 'w'
			r.Writable = &writable
		case 'c':
			mode, ok := driveopt.CacheMode(o.Value)
			if !ok {
				return r, complain(toReport, "Invalid cache option: %s", o.Value)
			}
			r.Cache = &mode
		case 'o':
			for _, p := range qemuopts.Parse(o.Value, "") {
				r.Options[p.Key] = p.Value
			}
		}
	}
	if len(c.Args) > 0 {
		return r, c.Usage()
	}
	return r, r.conflict()
}

func (r *Reopening) conflict() error {
	for k := range r.Options {
		switch {
		case k == "read-only" && r.Writable != nil:
			return complain(toReport, "Cannot set both -r/-w and 'read-only'")
		case strings.HasPrefix(k, "cache.") && r.Cache != nil:
			return complain(toReport, "Cannot set both -c and the cache options")
		}
	}
	return nil
}

func reopen(ctx context.Context, e *Exerciser, c *Call) error {
	r, err := c.reopening()
	if err != nil {
		return err
	}
	e.Wait()
	v, err := e.medium()
	if err != nil {
		return nil //nolint:nilerr // an empty drive is reopened already
	}
	if err := changeable(v, r.Options); err != nil {
		return err
	}
	switch {
	case r.Cache == nil && len(r.Options) == 0 && r.Writable == nil:
		return nil
	case r.Cache == nil && len(r.Options) == 0:
		err = e.drive.Medium().ReopenWritable(*r.Writable)
	case e.config.Reopen == nil:
		err = blockdev.Errorf(blockdev.ErrNotSupported, "reopen", v.Filename, "The options of this image cannot be changed while it is in use")
	default:
		err = e.config.Reopen(ctx, r)
	}
	if err != nil {
		return wrap(toReport, blockdev.Message(err), err)
	}
	return nil
}

// nodeOptions are those that every node has and that can be changed.
var nodeOptions = map[string]bool{
	"read-only": true, "auto-read-only": true, "discard": true, "detect-zeroes": true,
	"cache.direct": true, "cache.no-flush": true, "cache.writeback": true, "force-share": true,
}

// changeable refuses options that an open image cannot get, and values that make no sense.
func changeable(v *blockdev.Vertex, o blockdev.Options) error {
	own := blockdev.Options{}
	below := map[string]*blockdev.Vertex{"file.driver": v.File(), "backing.driver": v.Backing()}
	for _, k := range o.Keys() {
		if c := below[k]; c != nil && c.Driver != nil && c.Driver.Name == o[k] {
			continue // as it is
		}
		switch {
		case v.Options[k] == o[k], nodeOptions[k], k == "driver" && v.Driver != nil && o[k] == v.Driver.Name:
			continue
		case v.Driver == nil || !known(v.Driver.OpenOptions, k):
			return complain(toReport, "Cannot change the option '%s'", k[strings.LastIndexByte(k, '.')+1:])
		}
		own[k] = o[k]
	}
	if v.Driver == nil {
		return nil
	}
	if _, err := v.Driver.OpenOptions.Parse(own); err != nil {
		return wrap(toReport, blockdev.Message(err), err)
	}
	return nil
}

func known(t blockdev.OptionTable, name string) bool {
	_, ok := t.Lookup(name)
	return ok
}
