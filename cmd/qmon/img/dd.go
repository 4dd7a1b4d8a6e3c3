package img

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/qmon/qmon/img"
)

const ddSyntax = "[--image-opts] [-U] [-f fmt] [-O output_fmt] [bs=block_size] [count=blocks] [skip=blocks] if=input of=output"

// defaultBlock is dd's, in bytes.
const defaultBlock = 512

func runDD(t *tool, args []string) (int, error) {
	var src sourceFlags
	o := img.DDOptions{Session: t.session(), BlockSize: defaultBlock, Count: -1}
	fs := t.newFlagSet()
	src.add(fs)
	src.addForceShare(fs)
	fs.StringVarP(&o.TargetFormat, "output-format", "O", "raw", "")
	operands, err := parseOptions(fs, args, false)
	if err != nil {
		return statusFailed, err
	}
	input := ""
	for _, operand := range operands {
		if err := ddOperand(&o, &input, operand); err != nil {
			return statusFailed, err
		}
	}
	if input == "" || o.Target == "" {
		return statusFailed, errors.New("Must specify both input and output files")
	}
	if o.TargetFormat == "" {
		return statusFailed, errors.New("Unknown file format")
	}
	if o.Source, err = src.source(input); err != nil {
		return statusFailed, err
	}
	r, err := img.DD(t.ctx, o)
	if err == nil && r.PastEnd {
		t.errorf("%s: cannot skip to specified offset", input)
	}
	return statusOK, err
}

// ddOperand reads one key=value.
func ddOperand(o *img.DDOptions, input *string, operand string) error {
	key, value, ok := strings.Cut(operand, "=")
	if !ok {
		return fmt.Errorf("unrecognized operand %s", operand)
	}
	switch key {
	case "if":
		*input = value
	case "of":
		o.Target = value
	case "bs":
		n, err := sizeBetween("bs", value, 1, math.MaxInt32)
		o.BlockSize = n
		return err
	case "count", "skip":
		n, err := sizeArgument(key, value)
		if key == "count" {
			o.Count = n
		} else {
			o.Skip = n
		}
		return err
	default:
		return fmt.Errorf("unrecognized operand %s", key)
	}
	return nil
}
