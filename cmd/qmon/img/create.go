package img

import (
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/img"
)

const createSyntax = "[-q] [-f fmt] [-b backing_file [-F backing_fmt]] [-u] [-o options] filename [size]"

func runCreate(t *tool, args []string) (int, error) {
	var create createOptions
	fs := t.newFlagSet()
	format := fs.StringP("format", "f", "raw", "")
	backing := fs.StringP("backing", "b", "", "")
	backingFormat := fs.StringP("backing-format", "F", "", "")
	unchecked := fs.BoolP("unsafe", "u", false, "")
	quiet := fs.BoolP("quiet", "q", false, "")
	create.add(fs)
	operands, err := parseOptions(fs, args, false)
	if err != nil {
		return statusFailed, err
	}
	filename := ""
	if len(operands) > 0 {
		filename = operands[0]
	}
	if err := checkTargetFormat(*format); err != nil {
		return statusFailed, prefixed(filename, err)
	}
	if create.help {
		return statusOK, t.optionHelp(filename, *format)
	}
	if len(operands) == 0 {
		return statusFailed, usagef("Expecting image file name")
	}
	o := img.CreateOptions{
		Session: t.session(), Filename: filename, Format: *format, Options: create.options,
		Backing: *backing, BackingFormat: *backingFormat, Unchecked: *unchecked,
	}
	if fs.Changed("backing") && *backing == "" {
		o.Options["backing_file"] = ""
	}
	if fs.Changed("backing-format") && *backingFormat == "" {
		return statusFailed, prefixed(filename, errNoBackingFormat)
	}
	if len(operands) > 1 {
		size, err := sizeArgument("image size", operands[1])
		if err != nil {
			return statusFailed, err
		}
		o.Size = &size
	}
	if len(operands) > 2 {
		return statusFailed, usagef("Unexpected argument: %s", operands[2])
	}
	if !*quiet {
		o.Announce = func(line string) { fmt.Fprintln(t.stdout, line) }
	}
	if err := img.Create(t.ctx, o); err != nil {
		return statusFailed, prefixed(filename, err)
	}
	return statusOK, nil
}

// prefixed is err behind the name of the file, if there is one.
func prefixed(filename string, err error) error {
	if filename == "" {
		return err
	}
	return fmt.Errorf("%s: %s", filename, blockdev.Message(err))
}

// optionHelp lists the create options of a format, and of the protocol that filename
// selects.
func (t *tool) optionHelp(filename, format string) error {
	d, table, err := img.CreateTable(filename, format)
	if err != nil {
		return err
	}
	title := "Supported options:"
	if filename == "" {
		title = fmt.Sprintf("Supported %s options:", d.Name)
	}
	fmt.Fprint(t.stdout, title+"\n"+img.OptionHelp(table))
	if filename == "" && !d.Protocol {
		fmt.Fprint(t.stdout, "\nThe protocol level may support further options.\n"+
			"Specify the target filename to include those options.\n")
	}
	return nil
}
