package img

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/spf13/pflag"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/qemuopts"
	"github.com/qmon/qmon/internal/warning"
)

// session is what the library is called with.
func (t *tool) session() img.Session {
	return img.Session{
		Gate: &t.gate,
		Warn: t.warn(),
	}
}

func (t *tool) warn() func(text string) { return warning.Printer(t.stderr, t.prog) }

// sourceFlags are the options about an image that is opened.
type sourceFlags struct {
	format     *string // nil to probe for it
	imageOpts  bool
	forceShare bool
}

func (s *sourceFlags) add(fs *pflag.FlagSet) {
	fs.VarP(nameVar(&s.format), "format", "f", "")
	fs.BoolVar(&s.imageOpts, "image-opts", false, "")
}

func (s *sourceFlags) addForceShare(fs *pflag.FlagSet) {
	fs.BoolVarP(&s.forceShare, "force-share", "U", false, "")
}

func (s *sourceFlags) check() error {
	if s.imageOpts && s.format != nil {
		return errors.New("--image-opts and --format are mutually exclusive")
	}
	return nil
}

// nameVar is an option that names a format or an image; to stays nil where it is not given, as
// "" is the name of none: a script whose variable is empty has nothing guessed.
func nameVar(to **string) funcValue {
	return func(s string) error {
		*to = &s
		return nil
	}
}

// errNoBackingFormat is about a backing file's format that is no format's name.
var errNoBackingFormat = errors.New("Parameter 'backing-fmt' does not accept value ''")

// checkTargetFormat refuses to make an image in no format.
func checkTargetFormat(format string) error {
	if format == "" {
		return errors.New("Unknown file format ''")
	}
	return nil
}

// oneImage reads a command line of options and the name of an image.
func oneImage(fs *pflag.FlagSet, args []string) (name string, err error) {
	operands, err := parseOptions(fs, args, false)
	if err != nil {
		return "", err
	}
	if len(operands) != 1 {
		return "", usagef("Expecting one image file name")
	}
	return operands[0], nil
}

// source names the image that operand stands for.
func (s *sourceFlags) source(operand string) (img.Source, error) {
	if err := s.check(); err != nil {
		return img.Source{}, err
	}
	src := img.Source{Filename: operand}
	switch {
	case s.imageOpts:
		src = imageOptsSource(operand)
	case s.format != nil && *s.format == "":
		return src, fmt.Errorf("Could not open '%s': Unknown driver ''", operand)
	case s.format != nil:
		src.Format = *s.format
	}
	src.ForceShare = s.forceShare
	return src, nil
}

// cachedSource is source for an image that is read with a cache mode.
func (s *sourceFlags) cachedSource(operand, cache string) (img.Source, error) {
	mode, ok := driveopt.CacheMode(cache)
	if !ok {
		return img.Source{}, fmt.Errorf("Invalid source cache option: %s", cache)
	}
	src, err := s.source(operand)
	src.Cache = mode
	return src, err
}

func imageOptsSource(operand string) img.Source {
	options := blockdev.Options{}
	for _, p := range qemuopts.Parse(operand, "file") {
		options[p.Key] = p.Value
	}
	return img.Source{Options: options, Label: operand}
}

// outputFlag is --output.
type outputFlag struct{ word string }

func (o *outputFlag) add(fs *pflag.FlagSet) { fs.StringVar(&o.word, "output", "human", "") }

func (o *outputFlag) json() (bool, error) {
	switch o.word {
	case "human":
		return false, nil
	case "json":
		return true, nil
	}
	return false, errors.New("--output must be used with human or json as argument.")
}

// createOptions collects -o, which may be given several times.
type createOptions struct {
	options blockdev.Options
	help    bool
}

func (c *createOptions) add(fs *pflag.FlagSet) {
	c.options = blockdev.Options{}
	fs.VarP(funcValue(c.set), "options", "o", "")
}

func (c *createOptions) set(s string) error {
	if s == "" || strings.HasPrefix(s, ",") || strings.HasSuffix(s, ",") && !strings.HasSuffix(s, ",,") {
		return fmt.Errorf("Invalid option list: %s", s)
	}
	for _, p := range qemuopts.Parse(s, "") {
		if (p.Key == "help" || p.Key == "?") && p.Value == "on" {
			c.help = true
			continue
		}
		c.options[p.Key] = p.Value
	}
	return nil
}

// sizeArgument reads a size; what says in messages what it is for.
func sizeArgument(what, s string) (int64, error) { return sizeBetween(what, s, 0, math.MaxInt64) }

// sizeBetween is sizeArgument for a size that has limits.
func sizeBetween(what, s string, least, most int64) (int64, error) {
	n, err := blockdev.ParseSize(s)
	switch {
	case err == nil && n >= least && n <= most:
		return n, nil
	case err == nil, errors.Is(err, blockdev.ErrRange):
		return 0, fmt.Errorf("Invalid %s specified. Must be between %d and %d.", what, least, most)
	}
	return 0, errors.Join(
		fmt.Errorf("Invalid %s specified. You may use k, M, G, T, P or E suffixes for", what),
		errors.New("kilobytes, megabytes, gigabytes, terabytes, petabytes and exabytes."))
}
