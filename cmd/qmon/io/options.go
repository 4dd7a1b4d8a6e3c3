package io

import (
	"errors"
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/internal/getopt"
	"github.com/qmon/qmon/internal/objects"
	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/internal/restrict"
	"github.com/qmon/qmon/internal/traceopt"
)

// options are the program's, in the order that help lists them.
var options = []getopt.Option{
	{Name: "object", Value: true},
	{Name: "image-opts"},
	{Name: "restrict", Value: true},
	{Letter: 'c', Name: "cmd", Value: true},
	{Letter: 'f', Name: "format", Value: true},
	{Letter: 'r', Name: "read-only"},
	{Letter: 's', Name: "snapshot"},
	{Letter: 'n', Name: "nocache"},
	{Letter: 'C', Name: "copy-on-read"},
	{Letter: 'm', Name: "misalign"},
	{Letter: 'k', Name: "native-aio"},
	{Letter: 'i', Name: "aio", Value: true},
	{Letter: 't', Name: "cache", Value: true},
	{Letter: 'd', Name: "discard", Value: true},
	{Letter: 'T', Name: "trace", Value: true},
	{Letter: 'U', Name: "force-share"},
	{Letter: 'h', Name: "help"},
	{Letter: 'V', Name: "version"},
}

// What a command line can ask for instead of a run, or be.
var (
	errHelp    = errors.New("help")
	errVersion = errors.New("version")
	errUsage   = errors.New("")
)

// openFlags say what is opened, and how.
type openFlags struct {
	filename *string // nil for none
	format   *string // nil to probe for it
	options  blockdev.Options
	readOnly, snapshot, copyOnRead, forceShare,
	nativeAIO bool
	cache blockdev.CacheMode
	unmap bool
}

// newFlags are those that are in force if nothing is said: every write is on disk before
// it is over.
func newFlags() openFlags {
	return openFlags{
		options: blockdev.Options{},
		cache:   blockdev.CacheMode{WriteThrough: true},
		unmap:   true,
	}
}

// option takes an option that both the program and the command open have.
func (f *openFlags) option(o getopt.Found) error {
	switch o.Letter {
	case 'r':
		f.readOnly = true
	case 's':
		f.snapshot = true
	case 'C':
		f.copyOnRead = true
	case 'U':
		f.forceShare = true
	case 'n':
		f.cache = blockdev.CacheMode{Direct: true}
	case 'k':
		f.nativeAIO = true
	case 'i':
		return f.setAIO(o.Value)
	case 't':
		var ok bool
		if f.cache, ok = driveopt.CacheMode(o.Value); !ok {
			return fmt.Errorf("Invalid cache option: %s", o.Value)
		}
	case 'd':
		switch o.Value {
		case "unmap", "on":
			f.unmap = true
		case "ignore", "off":
			f.unmap = false
		default:
			return fmt.Errorf("Invalid discard option: %s", o.Value)
		}
	}
	return nil
}

// addOptions adds a list of options for the image.
func (f *openFlags) addOptions(list string) {
	for _, p := range qemuopts.Parse(list, "") {
		f.options[p.Key] = p.Value
	}
}

func (f *openFlags) setAIO(word string) error {
	switch word {
	case "threads", "io_uring":
	case "native":
		f.nativeAIO = true
	default:
		return fmt.Errorf("Invalid aio option: %s", word)
	}
	return nil
}

// invocation is a command line.
type invocation struct {
	gate blockdev.Gate // of what images refer to
	openFlags
	commands []string
	objects  objects.Set
	describe bool     // the operand is a list of options
	warnings []string // about what was given

	misaligned bool // see qemuio.Config
}

// parse reads a command line. What it defined is there also where it fails.
func (o *invocation) parse(args []string) error {
	found, operands, mistake := getopt.Parse(args, options)
	for _, f := range found {
		if err := o.take(f); err != nil {
			return err
		}
	}
	switch {
	case mistake != nil:
		return usageError{mistake}
	case len(operands) > 1:
		return errUsage
	case o.format != nil && o.describe:
		return errors.New("--image-opts and -f are mutually exclusive")
	}
	if len(operands) == 1 {
		o.filename = &operands[0]
	}
	if o.describe && o.filename != nil {
		o.addOptions(*o.filename)
		*o.filename = ""
	}
	return nil
}

func (o *invocation) take(f getopt.Found) error {
	switch {
	case f.Name == "object":
		return o.objects.Define(f.Value)
	case f.Name == "image-opts":
		o.describe = true
	case f.Name == "restrict":
		var err error
		o.gate, err = restrict.Gate(f.Value)
		return err
	case f.Letter == 'c':
		o.commands = append(o.commands, f.Value)
	case f.Letter == 'f':
		o.format = &f.Value
	case f.Letter == 'h':
		return errHelp
	case f.Letter == 'V':
		return errVersion
	case f.Letter == 'm':
		o.misaligned = true
	case f.Letter == 'T':
		warnings, err := traceopt.Parse(f.Value)
		o.warnings = append(o.warnings, warnings...)
		return err
	default:
		return o.option(f)
	}
	return nil
}

// usageError is a mistake that the whole help follows.
type usageError struct{ error }

func (usageError) Is(target error) bool { return target == errUsage }

func (t *tool) help() string {
	return fmt.Sprintf("Usage: %s [OPTIONS]... [-c STRING]... [file]\n", t.prog) + helpText
}

const helpText = `Reads and writes a disk image as commands say: those of -c, or those typed at a prompt.

  -c, --cmd STRING     run a command; may be given several times
  -f, --format FMT     the image's format; found by looking at it if not given
      --restrict DIR   open no file that an image refers to outside of DIR
      --image-opts     the file is a list of options: driver=qcow2,file.filename=a.qcow2
      --object DEF     define a secret (secret,id=s,file=key) or TLS credentials
  -r, --read-only      open the image for reading only
  -s, --snapshot       write to a temporary file and leave the image as it is
  -n, --nocache        go around the host's cache, as -t none
  -C, --copy-on-read   keep what is read from a backing file in the image
  -t, --cache MODE     none, writeback, writethrough, directsync or unsafe
  -d, --discard MODE   unmap (pass discards on) or ignore
  -i, --aio MODE       threads, native or io_uring; accepted, without effect
  -k, --native-aio     as -i native
  -m, --misalign       use buffers that O_DIRECT cannot
  -T, --trace EVENTS   accepted, without effect
  -U, --force-share    open an image that others are writing to; with -r
  -h, --help           show this and exit
  -V, --version        show the version and exit

'-c help' lists the commands.
`
