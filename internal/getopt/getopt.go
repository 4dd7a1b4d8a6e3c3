// Package getopt reads options as C's getopt_long does, for the tools whose command lines
// have to be read that way:
//
//	-qP 5 0 -- -5      letters together, a value behind its letter or in the next word,
//	0 512 -P5          operands between options, "--" ends the options
//	--form=raw         a long option can be shortened as far as it stays the only one
package getopt

import (
	"slices"
	"strings"
)

// Option is an option that a command line can have.
type Option struct {
	Letter byte   // 0 for none
	Name   string // "" for none
	// Value is set if the option takes one.
	Value bool
}

// Found is an option of a command line. It has the letter, or the name if the option has
// no letter.
type Found struct {
	Letter byte
	Name   string
	Value  string
}

// Letters describes options that have no names, as getopt's string does: "vP:" is -v and
// -P with a value.
func Letters(s string) []Option {
	var out []Option
	for _, c := range []byte(s) {
		if c == ':' {
			out[len(out)-1].Value = true
			continue
		}
		out = append(out, Option{Letter: c})
	}
	return out
}

// Error is a mistake in a command line, in the C library's words: "invalid option -- 'z'".
type Error string

func (e Error) Error() string { return string(e) }

// errUnknown says that no option has a name.
const errUnknown = Error("unrecognized option")

// parser is one reading of a command line.
type parser struct {
	options []Option
	rest    []string
	found   []Found
}

// Parse splits args into options, in order, and operands. The first mistake ends it; the
// options before it are returned.
func Parse(args []string, options []Option) (found []Found, operands []string, err error) {
	p := parser{options: options, rest: args}
	for len(p.rest) > 0 {
		arg := p.rest[0]
		p.rest = p.rest[1:]
		switch {
		case arg == "--":
			return p.found, append(operands, p.rest...), nil
		case strings.HasPrefix(arg, "--"):
			err = p.long(arg)
		case len(arg) > 1 && arg[0] == '-':
			err = p.letters(arg[1:])
		default:
			operands = append(operands, arg)
		}
		if err != nil {
			return p.found, nil, err
		}
	}
	return p.found, operands, nil
}

func (p *parser) add(o Option, value string) {
	f := Found{Letter: o.Letter, Value: value}
	if o.Letter == 0 {
		f.Name = o.Name
	}
	p.found = append(p.found, f)
}

func (p *parser) letters(s string) error {
	for s != "" {
		i := slices.IndexFunc(p.options, func(o Option) bool { return o.Letter == s[0] })
		switch {
		case i < 0:
			return Error("invalid option -- '" + s[:1] + "'")
		case !p.options[i].Value:
			p.add(p.options[i], "")
			s = s[1:]
			continue
		case len(s) > 1:
			p.add(p.options[i], s[1:])
		case len(p.rest) == 0:
			return Error("option requires an argument -- '" + s + "'")
		default:
			p.add(p.options[i], p.rest[0])
			p.rest = p.rest[1:]
		}
		return nil
	}
	return nil
}

func (p *parser) long(arg string) error {
	name, value, attached := strings.Cut(arg[2:], "=")
	o, err := p.named(name)
	switch {
	case err == errUnknown:
		return Error("unrecognized option '" + arg + "'")
	case err != nil:
		return err
	case attached && !o.Value:
		return Error("option '--" + o.Name + "' doesn't allow an argument")
	case o.Value && !attached && len(p.rest) == 0:
		return Error("option '--" + o.Name + "' requires an argument")
	case o.Value && !attached:
		value, p.rest = p.rest[0], p.rest[1:]
	}
	p.add(o, value)
	return nil
}

// named finds the option of that name, or the only one whose name begins with it.
func (p *parser) named(name string) (Option, error) {
	var like []Option
	for _, o := range p.options {
		switch {
		case o.Name == name && name != "":
			return o, nil
		case o.Name != "" && strings.HasPrefix(o.Name, name):
			like = append(like, o)
		}
	}
	switch len(like) {
	case 0:
		return Option{}, errUnknown
	case 1:
		return like[0], nil
	}
	text := "option '--" + name + "' is ambiguous; possibilities:"
	for _, o := range like {
		text += " '--" + o.Name + "'"
	}
	return Option{}, Error(text)
}
