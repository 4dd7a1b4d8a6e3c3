package img

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/img"
	"github.com/qmon/qmon/internal/qemuopts"
)

const convertSyntax = "[--image-opts] [--target-image-opts] [--target-is-zero] [-U] [-C] [-c] [-p] [-q] [-n] " +
	"[-f fmt] [-t cache] [-T src_cache] [-O output_fmt] [-B backing_file [-F backing_fmt]] [-o options] " +
	"[-l snapshot] [-S sparse_size] [-r rate_limit] [-m workers] [-W] [--salvage] [--bitmaps [--skip-broken-bitmaps]] filename [filename2 [...]] output_filename"

// Limits of convert's options, as QEMU has them.
const (
	maxWorkers    = 16
	sparseUnit    = 512
	maxSparseSize = 16 << 20
)

// convertFlags are the options of convert.
type convertFlags struct {
	o               img.ConvertOptions
	src             sourceFlags
	create          createOptions
	targetFormat    *string
	backing         *string
	backingFormat   *string
	targetImageOpts bool
	cache, srcCache string
	progress, quiet bool
	sparseGiven     bool
	salvage         bool
}

func (c *convertFlags) flagSet(t *tool) *pflag.FlagSet {
	fs := t.newFlagSet()
	c.src.add(fs)
	c.src.addForceShare(fs)
	c.create.add(fs)
	fs.VarP(nameVar(&c.targetFormat), "output-format", "O", "")
	fs.VarP(nameVar(&c.backing), "backing", "B", "")
	fs.VarP(nameVar(&c.backingFormat), "backing-format", "F", "")
	fs.StringVarP(&c.cache, "cache", "t", "unsafe", "")
	fs.StringVarP(&c.srcCache, "source-cache", "T", "writeback", "")
	fs.BoolVarP(&c.progress, "progress", "p", false, "")
	fs.BoolVarP(&c.quiet, "quiet", "q", false, "")
	fs.BoolVarP(&c.o.Existing, "no-create", "n", false, "")
	fs.BoolVar(&c.o.TargetIsZero, "target-is-zero", false, "")
	fs.BoolVar(&c.targetImageOpts, "target-image-opts", false, "")
	fs.BoolVarP(&c.o.Compress, "compress", "c", false, "")
	fs.BoolVarP(&c.o.Offload, "copy-offload", "C", false, "")
	fs.BoolVarP(&c.o.OutOfOrder, "out-of-order", "W", false, "")
	fs.VarP(funcValue(c.setSparse), "sparse", "S", "")
	fs.VarP(funcValue(c.setWorkers), "workers", "m", "")
	fs.VarP(funcValue(func(s string) (err error) { c.o.Snapshot, err = snapshotName(s); return err }), "snapshot", "l", "")
	fs.BoolVar(&c.o.Bitmaps, "bitmaps", false, "")
	fs.BoolVar(&c.o.SkipBrokenBitmaps, "skip-broken-bitmaps", false, "")
	fs.VarP(rateLimit(&c.o.RateLimit), "rate-limit", "r", "")
	fs.BoolVar(&c.salvage, "salvage", false, "")
	return fs
}

func (c *convertFlags) setSparse(s string) error {
	n, err := sizeArgument("buffer size for sparse output", s)
	if err != nil {
		return err
	}
	if n%sparseUnit != 0 || n > maxSparseSize {
		return fmt.Errorf("Invalid buffer size for sparse output specified. Valid sizes are multiples of %d "+
			"up to %d. Select 0 to disable sparse detection (fully allocates output).", sparseUnit, maxSparseSize)
	}
	c.o.Sparse, c.o.Dense, c.sparseGiven = n, n == 0, true
	return nil
}

func (c *convertFlags) setWorkers(s string) error {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 || n > maxWorkers {
		return fmt.Errorf("Invalid number of coroutines. Allowed number of coroutines is between 1 and %d", maxWorkers)
	}
	c.o.Workers = n
	return nil
}

// snapshotName reads "ID_OR_NAME", or "snapshot.id=ID,snapshot.name=NAME".
func snapshotName(s string) (n img.SnapshotName, err error) {
	if s == "" {
		return n, errors.New("Failed to load snapshot: Can't find snapshot")
	}
	if !strings.HasPrefix(s, "snapshot.") {
		return img.SnapshotName{Any: s}, nil
	}
	for _, p := range qemuopts.Parse(s, "") {
		switch p.Key {
		case "snapshot.id":
			n.ID = p.Value
		case "snapshot.name":
			n.Name = p.Value
		default:
			return n, errors.Join(
				fmt.Errorf("Invalid parameter '%s'", p.Key),
				fmt.Errorf("Failed in parsing snapshot param '%s'", s))
		}
	}
	return n, nil
}

func runConvert(t *tool, args []string) (int, error) {
	c := &convertFlags{}
	c.o.Session = t.session()
	operands, err := parseOptions(c.flagSet(t), args, false)
	if err != nil {
		return statusFailed, err
	}
	if err := c.check(); err != nil {
		return statusFailed, err
	}
	if c.create.help {
		target := ""
		if len(operands) > 0 {
			target = operands[len(operands)-1]
		}
		return statusOK, t.optionHelp(target, c.o.Target.Format)
	}
	if len(operands) < 2 {
		return statusFailed, errors.New("Must specify image file name")
	}
	if err := c.name(operands); err != nil {
		return statusFailed, err
	}
	bar := t.newProgress(c.progress && !c.quiet, "convert", convertStep)
	c.o.Progress, c.o.CoarseProgress = bar.update, bar.out == nil
	if c.salvage {
		c.o.Salvage = t.salvaged(c.quiet)
	}
	if err := img.Convert(t.ctx, c.o); err != nil {
		return statusFailed, err
	}
	bar.complete()
	bar.end()
	return statusOK, nil
}

// salvaged tells of each place that could not be read, unless that is not wanted.
func (t *tool) salvaged(quiet bool) func(error) {
	return func(err error) {
		var e *blockdev.Error
		if quiet || !errors.As(err, &e) {
			return
		}
		what := "reading"
		if e.Op == blockdev.OpCopyMap {
			what = "reading block status at"
		}
		t.warn()(fmt.Sprintf("warning: error while %s offset %d: %s\n", what, e.Offset, blockdev.Message(err)))
	}
}

// check refuses options that do not go together.
func (c *convertFlags) check() error {
	if !c.targetImageOpts {
		c.o.Target.Format = "raw"
	}
	if c.targetFormat != nil {
		c.o.Target.Format = *c.targetFormat
	}
	switch {
	case c.o.Offload && c.o.Compress:
		return errors.New("Cannot enable copy offloading when -c is used")
	case c.o.Offload && c.salvage:
		return errors.New("Cannot use copy offloading in salvaging mode")
	case c.o.Offload && c.sparseGiven:
		return errors.New("Cannot enable copy offloading when -S is used")
	case c.targetImageOpts && c.targetFormat != nil:
		return errors.New("--image-opts and --format are mutually exclusive")
	case c.o.SkipBrokenBitmaps && !c.o.Bitmaps:
		return errors.New("Use of --skip-broken-bitmaps requires --bitmaps")
	case c.targetImageOpts && !c.o.Existing:
		return errors.New("--target-image-opts requires use of -n flag")
	case c.o.TargetIsZero && !c.o.Existing:
		return errors.New("--target-is-zero requires use of -n flag")
	case c.o.Existing && len(c.create.options) > 0:
		return errors.New("-o has no effect when skipping image creation")
	}
	return c.src.check()
}

// name fills in the sources and the target.
func (c *convertFlags) name(operands []string) error {
	last := len(operands) - 1
	for _, s := range operands[:last] {
		src, err := c.src.cachedSource(s, c.srcCache)
		if err != nil {
			return err
		}
		c.o.Sources = append(c.o.Sources, src)
	}
	c.o.Target.Filename = operands[last]
	if c.targetImageOpts {
		c.o.Target = imageOptsSource(operands[last])
	} else if err := checkTargetFormat(c.o.Target.Format); err != nil {
		return err
	}
	if err := c.nameBacking(); err != nil {
		return err
	}
	mode, ok := driveopt.CacheMode(c.cache)
	if !ok {
		return fmt.Errorf("Invalid cache option: %s", c.cache)
	}
	c.o.Target.Cache = mode
	c.o.Create = c.create.options
	return nil
}

// nameBacking fills in the target's backing file.
func (c *convertFlags) nameBacking() error {
	if c.backing != nil {
		c.o.Backing = *c.backing
	}
	switch {
	case c.backingFormat == nil && c.backing != nil && *c.backing == "":
		return errors.New("Use of backing file requires explicit backing format")
	case c.backingFormat == nil:
		return nil
	case *c.backingFormat == "":
		return fmt.Errorf("%s: error while converting %s: %w", c.o.Target.Filename, c.o.Target.Format, errNoBackingFormat)
	}
	c.o.BackingFormat = *c.backingFormat
	return nil
}
