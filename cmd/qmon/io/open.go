package io

import (
	"context"
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/qemuio"
)

// addCommands adds the commands that only a program of its own has.
func (t *tool) addCommands() {
	t.exerciser.Add(qemuio.Command{
		Name: "open", Alias: "o", Args: "[-rsCnkU] [-t cache] [-d discard] [-o options] [path]",
		Help: "open the file specified by path", Details: openDetails,
		MinArgs: 1, MaxArgs: qemuio.Any, Options: "snCro:ki:t:d:U", NoFile: true, Run: t.openCommand,
	})
	t.exerciser.Add(qemuio.Command{Name: "close", Alias: "c", Help: "close the current open file", Run: t.closeCommand})
	t.exerciser.Add(qemuio.Command{
		Name: "quit", Alias: "q", Help: "exit the program", MaxArgs: qemuio.Any, NoFile: true,
		Run: func(context.Context, *qemuio.Exerciser, *qemuio.Call) error {
			t.ended = true
			return nil
		},
	})
}

const openDetails = `
 'open -r -o driver=qcow2 a.qcow2' opens an image for reading only.

 -r  for reading only
 -s  write to a temporary file and leave the image as it is
 -C  keep what is read from a backing file in the image
 -n  go around the host's cache, as -t none
 -t  cache mode: none, writeback, writethrough, directsync or unsafe
 -d  unmap (pass discards on) or ignore
 -i  threads, native or io_uring; accepted, without effect
 -k  as -i native
 -U  accept that others are writing; with -r
 -o  options of the image, and of what is below it
`

func (t *tool) openCommand(ctx context.Context, e *qemuio.Exerciser, c *qemuio.Call) error {
	flags := newFlags()
	for _, o := range c.Options {
		switch {
		case o.Letter == 'o' && t.describe:
			return qemuio.Refuse("--image-opts and 'open -o' are mutually exclusive")
		case o.Letter == 'o':
			flags.addOptions(o.Value)
			continue
		}
		if err := flags.option(o); err != nil {
			return qemuio.Fail(err.Error(), err)
		}
	}
	flags.filename = new(string)
	switch {
	case len(c.Args) > 1:
		return c.Usage()
	case len(c.Args) == 1 && t.describe:
		flags.addOptions(c.Args[0])
	case len(c.Args) == 1:
		flags.filename = &c.Args[0]
	}
	if e.Drive() != nil {
		return qemuio.Fail("file open already, try 'help close'", nil)
	}
	if err := t.open(ctx, flags); err != nil {
		return qemuio.Fail(blockdev.Message(err), err)
	}
	return nil
}

func (t *tool) closeCommand(context.Context, *qemuio.Exerciser, *qemuio.Call) error { return t.close() }

// open is insert for those who have not opened it before: an error says what cannot be.
func (t *tool) open(ctx context.Context, f openFlags) error {
	err := t.insert(ctx, f)
	if err != nil {
		text := "can't open"
		if *f.filename != "" || len(f.options) == 0 {
			text += " device " + *f.filename
		}
		return &blockdev.Error{Op: "open", File: *f.filename, Offset: blockdev.NoOffset, Text: text, Err: err}
	}
	return nil
}

// insert opens what the flags say and makes it the exerciser's drive.
func (t *tool) insert(ctx context.Context, f openFlags) error {
	v, err := t.openVertex(ctx, f)
	if err != nil {
		return err
	}
	d := blockdev.NewDrive(blockdev.DriveConfig{Cache: f.cache})
	if err := d.Insert(v); err != nil {
		return errors.Join(err, v.Unref())
	}
	t.exerciser.SetDrive(d)
	t.opened = f
	return nil
}

func (t *tool) openVertex(ctx context.Context, f openFlags) (*blockdev.Vertex, error) {
	writable := !f.readOnly
	format := ""
	if f.format != nil {
		format = *f.format
	}
	switch {
	case f.format != nil && format == "":
		return nil, errors.New("Unknown driver ''")
	case f.nativeAIO && !f.cache.Direct:
		return nil, errors.New("aio=native was specified, but it requires cache.direct=on, which was not specified.")
	case f.copyOnRead && f.readOnly:
		return nil, errors.New("Can't use copy-on-read on read-only device")
	}
	mode := blockdev.Mode{Writable: writable && !f.snapshot, Cache: f.cache, Unmap: f.unmap, ForceShare: f.forceShare}
	v, err := t.graph.Open(ctx, *f.filename, blockdev.OpenOptions{
		Driver:  format,
		Options: f.options.Clone(),
		Gate:    t.gate,
		Mode:    mode,
	})
	if err == nil && f.snapshot {
		v, err = t.overlay(ctx, v)
	}
	if err != nil {
		return nil, err
	}
	if writable && !v.Mode().Writable {
		return nil, errors.Join(blockdev.Errorf(blockdev.ErrReadOnly, "open", v.Filename, "Block node is read-only"), v.Unref())
	}
	if writable && v.Probed && v.Driver.Name == "raw" {
		fmt.Fprint(t.stderr, img.ProbedRawWarning(*f.filename))
	}
	if f.copyOnRead {
		return t.copyOnRead(ctx, v)
	}
	return v, nil
}

// copyOnRead puts the filter of that name over v.
func (t *tool) copyOnRead(ctx context.Context, v *blockdev.Vertex) (*blockdev.Vertex, error) {
	o := blockdev.Options{"driver": "copy-on-read", "file": v.Name}
	c, err := t.graph.OpenDescription(ctx, o, blockdev.OpenOptions{Mode: v.Mode()})
	return c, errors.Join(err, v.Unref()) // c holds a reference of its own
}

// overlay puts a temporary file over v.
func (t *tool) overlay(ctx context.Context, v *blockdev.Vertex) (*blockdev.Vertex, error) {
	o, err := t.graph.OpenOverlay(ctx, v, "")
	if err != nil {
		return nil, errors.Join(err, v.Unref())
	}
	return o, nil
}

// close closes the file, if one is open.
func (t *tool) close() error {
	d := t.exerciser.Drive()
	if d == nil {
		return nil
	}
	t.exerciser.SetDrive(nil)
	v, err := d.Remove()
	if v == nil {
		v = d.Medium() // it could not be flushed: closing says what is lost
	}
	if v != nil {
		if closed := v.Unref(); closed != nil {
			return closed
		}
	}
	if errors.Is(err, blockdev.ErrReadOnly) {
		return nil // found corrupt, of which the user was told
	}
	return err
}
