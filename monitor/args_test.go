package monitor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// registers stand in for a processor in tests of the parser.
type registers map[string]uint64

func (r registers) register(name string) (uint64, bool) { v, ok := r[name]; return v, ok }
func (registers) complain(string)                       {}

func parseLine(t *testing.T, spec, line string) (Args, string) {
	t.Helper()
	s := scanner{rest: line, env: registers{"pc": 0x1000}, name: "cmd"}
	a, err := s.parse(parseParams(spec))
	if err != nil {
		return nil, err.Error()
	}
	return a, ""
}

// What QEMU 7.2 does with these lines was tried with the real program.
func TestArguments(t *testing.T) {
	const (
		eject  = "-f device:B"
		change = "device:B -f filename:F format:s? mode:s?"
		block  = "-n -v device:B?"
	)
	for _, c := range []struct {
		spec, line string
		want       Args
		err        string
	}{
		{eject, " a", Args{"device": "a"}, ""},
		{eject, " -f a", Args{"f": true, "device": "a"}, ""},
		{eject, "", nil, "block device name expected"},
		{eject, " -f", nil, "block device name expected"},
		{eject, " -x a", nil, "unsupported option -x"},
		{eject, " - a", nil, "unsupported option - "},
		{eject, " -", nil, "unsupported option -"},
		{eject, " -ff a", nil, "extraneous characters at the end of line"},
		{eject, " a b", nil, "extraneous characters at the end of line"},
		{eject, ` "a b"`, Args{"device": "a b"}, ""},
		{eject, ` "a\n\r\\\'\"b"`, Args{"device": "a\n\r\\'\"b"}, ""},
		{eject, ` "a`, nil, "block device name expected"},
		{eject, ` "a\`, nil, "block device name expected"},
		{eject, ` "a\qb"`, nil, "block device name expected"},
		{eject, ` "a"b`, nil, "extraneous characters at the end of line"},
		{eject, ` "a" "b"`, nil, "extraneous characters at the end of line"},
		{eject, ` a"b"`, Args{"device": `a"b"`}, ""},
		{eject, ` 'a'`, Args{"device": `'a'`}, ""},
		{eject, ` a\b`, Args{"device": `a\b`}, ""},
		{eject, ` ""`, Args{"device": ""}, ""},
		{change, " cd x.iso", Args{"device": "cd", "filename": "x.iso"}, ""},
		{change, " cd -f x.iso raw", Args{"device": "cd", "f": true, "filename": "x.iso", "format": "raw"}, ""},
		{change, " -f cd", Args{"device": "-f", "filename": "cd"}, ""},
		{change, " cd", nil, "filename expected"},
		{block, "", Args{}, ""},
		{block, " -n -v x", Args{"n": true, "v": true, "device": "x"}, ""},
		{block, " -v -n", Args{"v": true, "device": "-n"}, ""},
		{block, " -n -n", nil, "unsupported option -n"},
		{block, " -nv", Args{"n": true, "device": "v"}, ""},
		{"tag:s", "", nil, "string expected"},
		{"n:i", " 0x100000000", nil, "'cmd' has failed: integer is for 32-bit values"},
		{"n:i", " 0xffffffff", Args{"n": int64(0xffffffff)}, ""},
		{"n:i?", " ", Args{}, ""},
		{"n:i?", " $pc+4", Args{"n": int64(0x1004)}, ""},
		{"a:l b:i", " 1 + 2 3", Args{"a": int64(3), "b": int64(3)}, ""},
		{"a:l f:F", " 16 /tmp/x", nil, "invalid char 't' in expression"},
		{"a:l f:F", ` 16 "/tmp/x"`, Args{"a": int64(16), "f": "/tmp/x"}, ""},
		{"sw:b", " on", Args{"sw": true}, ""},
		{"sw:b", " maybe", nil, "'on' or 'off' expected"},
		{"line:S?", " a  b ", Args{"line": "a  b "}, ""},
	} {
		got, err := parseLine(t, c.spec, c.line)
		if err != c.err || !cmp.Equal(got, c.want) {
			t.Errorf("%q with %q: %v, %q; want %v, %q", c.line, c.spec, got, err, c.want, c.err)
		}
	}
}

func TestExpressions(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		err  string
	}{
		{"1 + 2 * 3", 7, ""},
		{"(1+2)*3", 9, ""},
		{" ( 1 ) ", 1, ""},
		{"4|1+4", 9, ""},
		{"2*3|1", 7, ""},
		{"6&3*2", 6, ""},
		{"5^1", 4, ""},
		{"7%4", 3, ""},
		{"-5/2", -2, ""},
		{"-5%3", -2, ""},
		{"~ 1", -2, ""},
		{"- 5", -5, ""},
		{"+5", 5, ""},
		{"010", 8, ""},
		{"0x1F", 31, ""},
		{"'a'+1", 98, ""},
		{`'\'`, 0x5c, ""},
		{"$pc", 0x1000, ""},
		{"($pc)+1", 0x1001, ""},
		{"0xffffffffffffffff", -1, ""},
		{"18446744073709551616", 0, "number too large"},
		{"", 0, "unexpected end of expression"},
		{"1 -", 0, "unexpected end of expression"},
		{"(1", 0, "')' expected"},
		{"()", 0, "invalid char ')' in expression"},
		{"1)", 0, "extraneous characters at the end of line"},
		{"1 2", 0, "extraneous characters at the end of line"},
		{"08", 0, "extraneous characters at the end of line"},
		{"0x", 0, "extraneous characters at the end of line"},
		{"1<<2", 0, "extraneous characters at the end of line"},
		{"1/0", 0, "division by zero"},
		{"7%0", 0, "division by zero"},
		{"abc", 0, "invalid char 'a' in expression"},
		{`"a"`, 0, `invalid char '"' in expression`},
		{"'", 0, "character constant expected"},
		{"''", 0, "missing terminating ' character"},
		{"'ab'", 0, "missing terminating ' character"},
		{"$", 0, "unknown register"},
		{"$pc.x", 0, "unknown register"},
	} {
		got, err := parseLine(t, "v:l", " "+c.in)
		if err != c.err || got.Int("v") != c.want {
			t.Errorf("%s = %d, %q; want %d, %q", c.in, got.Int("v"), err, c.want, c.err)
		}
	}
}

func TestSizes(t *testing.T) {
	for _, c := range []struct {
		in   string
		want int64
		err  string
	}{
		{"64", 64 << 20, ""},
		{"1000B", 1000, ""},
		{"32M", 32 << 20, ""},
		{"1.5G", 3 << 29, ""},
		{"0x10", 16 << 20, ""},
		{"0", 0, ""},
		{"10MB", 0, "extraneous characters at the end of line"},
		{"foo", 0, "invalid size"},
		{"", 0, "invalid size"},
		{"-1", 0, "invalid size"},
		{"9223372036854775807", 0, "invalid size"},
		{"99999999999999999999", 0, "invalid size"},
	} {
		got, err := parseLine(t, "v:o", " "+c.in)
		if err != c.err || got.Int("v") != c.want {
			t.Errorf("%s = %d, %q; want %d, %q", c.in, got.Int("v"), err, c.want, c.err)
		}
	}
}

func TestFormats(t *testing.T) {
	for _, c := range []struct {
		in   string
		want format
		err  string
	}{
		{" 1", format{count: 1}, ""},
		{"/4xw 1", format{4, 'x', 4}, ""},
		{" /x 1", format{1, 'x', 0}, ""},
		{"/8do 1", format{8, 'o', 0}, ""},
		{"/0x 1", format{0, 'x', 0}, ""},
		{"/ 1", format{count: 1}, ""},
		{"/99999999999999999999gu 1", format{maxCount, 'u', 8}, ""},
		{"/s 1", format{}, "invalid char in format: 's'"},
		{"/4x4x 1", format{}, "invalid char in format: '4'"},
		{"/-1x 1", format{}, "invalid char in format: '-'"},
		{"/x/d 1", format{}, "invalid char in format: '/'"},
	} {
		got, err := parseLine(t, "/fmt v:l", c.in)
		if err != c.err || got.format("fmt") != c.want {
			t.Errorf("%s = %v, %q; want %v, %q", c.in, got.format("fmt"), err, c.want, c.err)
		}
	}
}

// Whatever is typed is either taken or refused.
func FuzzArguments(f *testing.F) {
	for _, s := range []string{` "a\n`, "/4xw $pc+(1*-2)", "-n -v x", "1.5G", "'a'|~0x7f"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		for _, spec := range []string{"-f device:B rest:S?", "/fmt a:l b:i?", "size:o name:F"} {
			s := scanner{rest: line, env: registers{"pc": 1}, name: "cmd"}
			if _, err := s.parse(parseParams(spec)); err == nil && s.rest != "" {
				t.Errorf("%q: %q left over", line, s.rest)
			}
		}
	})
}
