package img

import (
	"errors"
	"fmt"
	"math"
	"strconv"

	"github.com/spf13/pflag"

	"github.com/qmon/qmon/blockdev/driveopt"
	"github.com/qmon/qmon/img"
)

const benchSyntax = "[-c count] [-d depth] [-f fmt] [--flush-interval=interval] [-i aio] [-n] [--no-drain] [-o offset] [--pattern=pattern] [-q] [-s buffer_size] [-S step_size] [-t cache] [-w] [-U] filename"

// What bench does unless told otherwise.
const (
	benchCount  = 75000
	benchDepth  = 64
	benchBuffer = 4096
)

// benchFlags are bench's options as words.
type benchFlags struct {
	src                              sourceFlags
	count, depth, interval, pattern  string
	offset, buffer, step, cache, aio string
	native, quiet                    bool
}

func runBench(t *tool, args []string) (int, error) {
	var f benchFlags
	o := img.BenchOptions{Session: t.session()}
	fs := t.newFlagSet()
	f.add(fs, &o)
	operands, err := parseOptions(fs, args, false)
	if err != nil {
		return statusFailed, err
	}
	if err := f.read(&o); err != nil {
		return statusFailed, err
	}
	switch {
	case len(operands) != 1:
		return statusFailed, usagef("Expecting one image file name")
	case !o.Write && o.FlushInterval > 0:
		return statusFailed, errors.New("--flush-interval is only available in write tests")
	case o.FlushInterval > 0 && o.FlushInterval < o.Depth:
		return statusFailed, errors.New("Flush interval can't be smaller than depth")
	}
	mode, ok := driveopt.CacheMode(f.cache)
	if !ok {
		return statusFailed, errors.New("Invalid cache mode")
	}
	if o.Image, err = f.src.source(operands[0]); err != nil {
		return statusFailed, err
	}
	if (f.native || f.aio == "native") && !mode.Direct {
		return statusFailed, fmt.Errorf("Could not open '%s': aio=native was specified, but it requires cache.direct=on, which was not specified.", operands[0])
	}
	o.Image.Cache = mode
	o.Start = func() { fmt.Fprint(t.stdout, benchText(o)) }
	took, err := img.Bench(t.ctx, o)
	if err != nil {
		return statusFailed, err
	}
	fmt.Fprintf(t.stdout, "Run completed in %3.3f seconds.\n", took.Seconds())
	return statusOK, nil
}

func (f *benchFlags) add(fs *pflag.FlagSet, o *img.BenchOptions) {
	f.src.add(fs)
	f.src.addForceShare(fs)
	fs.StringVarP(&f.count, "count", "c", strconv.Itoa(benchCount), "")
	fs.StringVarP(&f.depth, "depth", "d", strconv.Itoa(benchDepth), "")
	fs.StringVar(&f.interval, "flush-interval", "0", "")
	fs.StringVarP(&f.aio, "aio", "i", "threads", "")
	fs.BoolVarP(&f.native, "native", "n", false, "")
	fs.BoolVar(&o.NoDrain, "no-drain", false, "")
	fs.StringVarP(&f.offset, "offset", "o", "0", "")
	fs.StringVar(&f.pattern, "pattern", "0", "")
	fs.BoolVarP(&f.quiet, "quiet", "q", false, "")
	fs.StringVarP(&f.buffer, "buffer-size", "s", strconv.Itoa(benchBuffer), "")
	fs.StringVarP(&f.step, "step-size", "S", "0", "")
	fs.StringVarP(&f.cache, "cache", "t", "writeback", "")
	fs.BoolVarP(&o.Write, "write", "w", false, "")
}

// read turns the words into numbers.
func (f *benchFlags) read(o *img.BenchOptions) error {
	for _, n := range []struct {
		word, what string
		max        uint64
		to         *int
	}{
		{f.count, "request count", math.MaxInt32, &o.Count},
		{f.depth, "queue depth", maxBenchDepth, &o.Depth},
		{f.interval, "flush interval", math.MaxInt32, &o.FlushInterval},
	} {
		v, err := strconv.ParseUint(n.word, 0, 64)
		if err != nil || v > n.max || n.to == &o.Depth && v == 0 {
			return fmt.Errorf("Invalid %s specified", n.what)
		}
		*n.to = int(v)
	}
	pattern, err := strconv.ParseUint(f.pattern, 0, 8)
	if err != nil {
		return errors.New("Invalid pattern byte specified")
	}
	o.Pattern = byte(pattern)
	if f.aio != "threads" && f.aio != "native" && f.aio != "io_uring" {
		return fmt.Errorf("Invalid aio option: %s", f.aio)
	}
	return f.readSizes(o)
}

// maxBenchDepth bounds the buffers and goroutines of one run.
const maxBenchDepth = 4096

func (f *benchFlags) readSizes(o *img.BenchOptions) (err error) {
	if o.Size, err = sizeBetween("buffer size", f.buffer, 0, math.MaxInt32); err != nil {
		return err
	}
	if o.Step, err = sizeBetween("step_size", f.step, 0, math.MaxInt32); err != nil {
		return err
	}
	o.Offset, err = sizeArgument("offset", f.offset)
	return err
}

func benchText(o img.BenchOptions) string {
	kind, step := "read", o.Step
	if o.Write {
		kind = "write"
	}
	if step == 0 {
		step = o.Size
	}
	text := fmt.Sprintf("Sending %d %s requests, %d bytes each, %d in parallel (starting at offset %d, step size %d)\n",
		o.Count, kind, o.Size, o.Depth, o.Offset, step)
	if o.FlushInterval > 0 {
		text += fmt.Sprintf("Sending flush every %d requests\n", o.FlushInterval)
	}
	return text
}
