package monitor

import (
	"math"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// param is one argument that a command takes. See Command.Args.
type param struct {
	name     string
	kind     byte
	optional bool
}

const (
	kindFlag    = '-'
	kindFormat  = '/'
	kindDrive   = 'B'
	kindFile    = 'F'
	kindWord    = 's'
	kindRest    = 'S'
	kindInt     = 'i'
	kindLong    = 'l'
	kindSize    = 'o'
	kindBoolean = 'b'
)

// missing is what QEMU says when an argument is not there.
var missing = map[byte]string{
	kindDrive: "block device name expected",
	kindFile:  "filename expected",
	kindWord:  "string expected",
}

// parseParams reads a Command's Args, which are part of the program: mistakes panic.
func parseParams(spec string) []param {
	var out []param
	for _, f := range strings.Fields(spec) {
		p := param{name: f}
		switch {
		case f[0] == kindFlag && len(f) == 2, f[0] == kindFormat:
			p.kind = f[0]
			p.name = f[1:]
		default:
			name, kind, ok := strings.Cut(f, ":")
			kind, p.optional = strings.CutSuffix(kind, "?")
			if !ok || len(kind) != 1 || !strings.Contains("BFsSilob", kind) {
				panic("monitor: bad argument description " + f)
			}
			p.name, p.kind = name, kind[0]
		}
		out = append(out, p)
	}
	return out
}

// usage is how help shows a parameter.
func (p param) usage() string {
	switch {
	case p.kind == kindFlag:
		return "[-" + p.name + "]"
	case p.kind == kindFormat:
		return "/" + p.name
	case p.optional:
		return "[" + p.name + "]"
	}
	return p.name
}

// Args are the parsed arguments of a command, by the names in its Args.
type Args map[string]any

// Has tells if an optional argument was given.
func (a Args) Has(name string) bool { _, ok := a[name]; return ok }

// Flag tells if the flag was given: Flag("f") of "-f".
func (a Args) Flag(name string) bool { on, _ := a[name].(bool); return on }

// String is a word, a name or the rest of the line; "" if it was not given.
func (a Args) String(name string) string { s, _ := a[name].(string); return s }

// Int is the value of an expression, or a size in bytes; 0 if it was not given.
func (a Args) Int(name string) int64 { n, _ := a[name].(int64); return n }

// format is the /fmt argument.
func (a Args) format(name string) format { f, _ := a[name].(format); return f }

// usageError is a command line that its command cannot take. Where the problem lies in
// one value, the text stands alone, else behind the command's name.
type usageError struct {
	text  string
	named bool // show the command's name in front
}

func (e *usageError) Error() string { return e.text }

func badValue(text string) error { return &usageError{text: text} }
func badLine(text string) error  { return &usageError{text: text, named: true} }

// scanner goes through the arguments of a command line.
type scanner struct {
	rest string
	env  environment
	name string // of the command, for messages
	// depth is how many values enclose the one being read.
	depth int
}

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func (s *scanner) skipSpace() {
	for s.rest != "" && isSpace(s.rest[0]) {
		s.rest = s.rest[1:]
	}
}

// parse reads all arguments, and nothing may be left then.
func (s *scanner) parse(params []param) (Args, error) {
	args := Args{}
	for i, p := range params {
		s.skipSpace()
		if s.rest == "" && p.optional {
			continue
		}
		v, err := s.value(p, params[i:])
		if err != nil {
			return nil, err
		}
		if v != nil {
			args[p.name] = v
		}
	}
	s.skipSpace()
	if s.rest != "" {
		return nil, badLine("extraneous characters at the end of line")
	}
	return args, nil
}

// value reads one argument; left are the parameters from it on. nil stands for a flag
// that is not there.
func (s *scanner) value(p param, left []param) (any, error) {
	switch p.kind {
	case kindFlag:
		return s.flag(p, left)
	case kindFormat:
		return s.format()
	case kindRest:
		text := s.rest
		s.rest = ""
		return text, nil
	case kindInt, kindLong:
		return s.integer(p.kind)
	case kindSize:
		return s.size()
	case kindBoolean:
		return s.boolean()
	}
	word, ok := s.word()
	if !ok {
		return nil, badLine(missing[p.kind])
	}
	return word, nil
}

// flag takes -f. Flags come in the order of the parameters: another one of the command's
// is left for later, and one that no later parameter is refused.
func (s *scanner) flag(p param, left []param) (any, error) {
	if !strings.HasPrefix(s.rest, "-") {
		return nil, nil
	}
	given := s.rest[1:min(2, len(s.rest))]
	if given == p.name {
		s.rest = s.rest[2:]
		return true, nil
	}
	for _, l := range left {
		if l.kind == kindFlag && l.name == given {
			return nil, nil
		}
	}
	return nil, badLine("unsupported option -" + given)
}

// word takes a run of characters up to the next space, or what double quotes enclose.
func (s *scanner) word() (string, bool) {
	s.skipSpace()
	if s.rest == "" {
		return "", false
	}
	if s.rest[0] == '"' {
		return s.quoted()
	}
	end := strings.IndexFunc(s.rest, func(r rune) bool { return r < 0x80 && isSpace(byte(r)) })
	if end < 0 {
		end = len(s.rest)
	}
	word := s.rest[:end]
	s.rest = s.rest[end:]
	return word, true
}

// escapes are what a backslash in double quotes can stand before.
var escapes = map[byte]byte{'n': '\n', 'r': '\r', '\\': '\\', '\'': '\'', '"': '"'}

// quoted takes a string in double quotes.
func (s *scanner) quoted() (string, bool) {
	var b strings.Builder
	for i := 1; i < len(s.rest); i++ {
		c := s.rest[i]
		switch {
		case c == '"':
			s.rest = s.rest[i+1:]
			return b.String(), true
		case c == '\\' && i+1 < len(s.rest):
			i++
			plain, ok := escapes[s.rest[i]]
			if !ok {
				s.env.complain("unsupported escape code: '\\" + s.rest[i:i+1] + "'")
				return "", false
			}
			c = plain
		}
		b.WriteByte(c)
	}
	s.env.complain("unterminated string")
	return "", false
}

func (s *scanner) integer(kind byte) (any, error) {
	v, err := s.expression()
	if err != nil {
		return nil, err
	}
	if kind == kindInt && uint64(v) > math.MaxUint32 {
		return nil, badValue("'" + s.name + "' has failed: integer is for 32-bit values")
	}
	return v, nil
}

// size takes a number with an optional fraction and one letter for the unit.
func (s *scanner) size() (any, error) {
	start, digits := 0, "0123456789."
	if strings.HasPrefix(s.rest, "0x") || strings.HasPrefix(s.rest, "0X") {
		start, digits = 2, "0123456789abcdefABCDEF"
	}
	end := start
	for end < len(s.rest) && strings.IndexByte(digits, s.rest[end]) >= 0 {
		end++
	}
	number, unit := s.rest[:end], "M"
	if end < len(s.rest) && strings.IndexByte("bBkKmMgGtTpPeE", s.rest[end]) >= 0 {
		unit = s.rest[end : end+1]
		end++
	}
	n, err := sizeIn(number, unit, start > 0)
	if number == "" || number[0] == '.' || err != nil {
		return nil, badValue("invalid size")
	}
	s.rest = s.rest[end:]
	return n, nil
}

// sizeIn is a number of units. Only the digits of hexadecimal ones end before the unit.
func sizeIn(number, unit string, hex bool) (int64, error) {
	if !hex {
		return blockdev.ParseSize(number + unit)
	}
	n, err := blockdev.ParseSize(number)
	if err != nil {
		return 0, err
	}
	one, err := blockdev.ParseSize("1" + unit)
	if err == nil && n > math.MaxInt64/one {
		err = blockdev.Errorf(blockdev.ErrRange, "", "", "size is too large")
	}
	return n * one, err
}

func (s *scanner) boolean() (any, error) {
	word, _ := s.word()
	switch word {
	case "on":
		return true, nil
	case "off":
		return false, nil
	}
	return nil, badLine("'on' or 'off' expected")
}
