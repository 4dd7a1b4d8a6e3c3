package getopt

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var options = append(Letters("qP:"),
	Option{Letter: 'c', Name: "cmd", Value: true}, Option{Name: "cache", Value: true}, Option{Name: "object", Value: true},
	Option{Letter: 'h', Name: "help"})

func TestParse(t *testing.T) {
	for _, c := range []struct {
		line     string
		found    []Found
		operands []string
		err      string
	}{
		{line: ""},
		{line: "0 512", operands: []string{"0", "512"}},
		{line: "0 -q 512 -P5", found: []Found{{Letter: 'q'}, {Letter: 'P', Value: "5"}}, operands: []string{"0", "512"}},
		{line: "-qP 5", found: []Found{{Letter: 'q'}, {Letter: 'P', Value: "5"}}},
		{line: "-q -- -P -", found: []Found{{Letter: 'q'}}, operands: []string{"-P", "-"}},
		{line: "- x", operands: []string{"-", "x"}},
		{line: "--cmd=a=b --cmd c", found: []Found{{Letter: 'c', Value: "a=b"}, {Letter: 'c', Value: "c"}}},
		{line: "--obj x --he", found: []Found{{Name: "object", Value: "x"}, {Letter: 'h'}}},
		{line: "-q -z", found: []Found{{Letter: 'q'}}, err: "invalid option -- 'z'"},
		{line: "-P", err: "option requires an argument -- 'P'"},
		{line: "--foo", err: "unrecognized option '--foo'"},
		{line: "--foo=1", err: "unrecognized option '--foo=1'"},
		{line: "--help=1", err: "option '--help' doesn't allow an argument"},
		{line: "--cmd", err: "option '--cmd' requires an argument"},
		{line: "--c x", err: "option '--c' is ambiguous; possibilities: '--cmd' '--cache'"},
	} {
		found, operands, err := Parse(strings.Fields(c.line), options)
		text := ""
		if err != nil {
			text = err.Error()
		}
		if d := cmp.Diff(c.found, found) + cmp.Diff(c.operands, operands) + cmp.Diff(c.err, text); d != "" {
			t.Errorf("%s: %s", c.line, d)
		}
	}
}
