package img

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// What a command line can ask for instead of a run; options that follow are not looked at.
var (
	errHelp    = errors.New("help")
	errVersion = errors.New("version")
)

// usageError is a command line that cannot be understood; its report ends with the advice
// to look at the help.
type usageError struct{ text string }

func (e usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return usageError{fmt.Sprintf(format, args...)} }

// parseOptions reads args as C's getopt_long does, which qemu-img uses: options and
// operands may be mixed, long options may be shortened as far as they stay unique, and a
// value may follow its letter directly. It returns the operands. The first option that is
// wrong ends it. With stopAtOperand everything from the first operand on is returned.
func parseOptions(fs *pflag.FlagSet, args []string, stopAtOperand bool) ([]string, error) {
	var operands []string
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		var err error
		switch {
		case arg == "--":
			return append(operands, args...), nil
		case strings.HasPrefix(arg, "--"):
			args, err = parseLong(fs, arg, args)
		case len(arg) > 1 && arg[0] == '-':
			args, err = parseShort(fs, arg, args)
		case stopAtOperand:
			return append([]string{arg}, args...), nil
		default:
			operands = append(operands, arg)
		}
		if err != nil {
			return nil, err
		}
	}
	return operands, nil
}

func parseLong(fs *pflag.FlagSet, arg string, rest []string) ([]string, error) {
	name, value, attached := strings.Cut(arg[2:], "=")
	f := lookupLong(fs, name)
	if f == nil {
		return nil, unrecognized(arg)
	}
	switch {
	case f.NoOptDefVal != "" && attached:
		return nil, unrecognized(arg)
	case f.NoOptDefVal != "":
		value = f.NoOptDefVal
	case !attached && len(rest) == 0:
		return nil, usagef("missing argument for option '%s'", arg)
	case !attached:
		value, rest = rest[0], rest[1:]
	}
	return rest, set(f, value)
}

// lookupLong finds a long option by its name, or by a prefix that no other option has.
func lookupLong(fs *pflag.FlagSet, name string) *pflag.Flag {
	if f := fs.Lookup(name); f != nil && len(f.Name) > 1 {
		return f
	}
	var found []*pflag.Flag
	fs.VisitAll(func(f *pflag.Flag) {
		if len(f.Name) > 1 && strings.HasPrefix(f.Name, name) {
			found = append(found, f)
		}
	})
	if len(found) != 1 {
		return nil
	}
	return found[0]
}

func parseShort(fs *pflag.FlagSet, arg string, rest []string) ([]string, error) {
	for letters := arg[1:]; letters != ""; {
		f := fs.ShorthandLookup(letters[:1])
		if f == nil {
			return nil, unrecognized(arg)
		}
		letters = letters[1:]
		if f.NoOptDefVal != "" {
			if err := set(f, f.NoOptDefVal); err != nil {
				return nil, err
			}
			continue
		}
		if letters != "" {
			return rest, set(f, letters)
		}
		if len(rest) == 0 {
			return nil, usagef("missing argument for option '%s'", arg)
		}
		return rest[1:], set(f, rest[0])
	}
	return rest, nil
}

func unrecognized(arg string) error { return usagef("unrecognized option '%s'", arg) }

func set(f *pflag.Flag, value string) error {
	switch f.Name {
	case "help":
		return errHelp
	case "version":
		return errVersion
	}
	f.Changed = true
	return f.Value.Set(value)
}

// funcValue is an option whose value is checked as soon as it is read.
type funcValue func(string) error

func (v funcValue) Set(s string) error { return v(s) }
func (v funcValue) String() string     { return "" }
func (v funcValue) Type() string       { return "string" }
