package img

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/shlex"
)

func TestParseOptions(t *testing.T) {
	type parsed struct {
		Force, Quiet     bool
		Format, Backing  string
		Operands         []string
		Usage, PlainText string
	}
	for _, c := range []struct {
		line string
		stop bool
		want parsed
	}{
		{"", false, parsed{}},
		{"a b", false, parsed{Operands: []string{"a", "b"}}},
		{"a -q b -f raw", false, parsed{Quiet: true, Format: "raw", Operands: []string{"a", "b"}}},
		{"-qfraw a", false, parsed{Quiet: true, Format: "raw", Operands: []string{"a"}}},
		{"-qf raw a", false, parsed{Quiet: true, Format: "raw", Operands: []string{"a"}}},
		{"--format raw --force", false, parsed{Format: "raw", Force: true}},
		{"--format=raw --forc", false, parsed{Format: "raw", Force: true}},
		{"--back=x", false, parsed{Backing: "x"}},
		{"--format=", false, parsed{}},
		{"-f -q", false, parsed{Format: "-q"}},
		{"a -- -q --format", false, parsed{Operands: []string{"a", "-q", "--format"}}},
		{"-", false, parsed{Operands: []string{"-"}}},
		{"-q a -f raw", true, parsed{Quiet: true, Operands: []string{"a", "-f", "raw"}}},
		{"--for", false, parsed{Usage: "unrecognized option '--for'"}}, // of two
		{"--force=1", false, parsed{Usage: "unrecognized option '--force=1'"}},
		{"--nosuch=1 a", false, parsed{Usage: "unrecognized option '--nosuch=1'"}},
		{"-Z", false, parsed{Usage: "unrecognized option '-Z'"}},
		{"a -f", false, parsed{Usage: "missing argument for option '-f'"}},
		{"--format", false, parsed{Usage: "missing argument for option '--format'"}},
		{"--bad x -Z", false, parsed{PlainText: "x is bad"}}, // the first one counts
	} {
		t.Run(c.line, func(t *testing.T) {
			args, err := shlex.Split(c.line)
			if err != nil {
				t.Fatal(err)
			}
			var got parsed
			fs := (&tool{}).newFlagSet()
			fs.BoolVar(&got.Force, "force", false, "")
			fs.BoolVarP(&got.Quiet, "quiet", "q", false, "")
			fs.StringVarP(&got.Format, "format", "f", "", "")
			fs.StringVar(&got.Backing, "backing", "", "")
			fs.Var(funcValue(func(s string) error { return errors.New(s + " is bad") }), "bad", "")
			got.Operands, err = parseOptions(fs, args, c.stop)
			if u := (usageError{}); errors.As(err, &u) {
				got.Usage = u.text
			} else if err != nil {
				got.PlainText = err.Error()
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestHelpWherever(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help"}, {"info", "-h"}, {"create", "a", "--help"}, {"resize", "-h"}} {
		status, stdout, stderr := runTool(t.Context(), args...)
		if status != statusOK || stderr != "" || len(stdout) < 200 {
			t.Errorf("%q: status %d, %q, %q", args, status, stdout, stderr)
		}
	}
}
