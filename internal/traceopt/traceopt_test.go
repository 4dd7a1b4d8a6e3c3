package traceopt

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "events")
	if err := os.WriteFile(file, []byte("# a comment\none\n-two\nthree*\n\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		text string
		want []string
		err  string
	}{
		{"one", []string{"warning: trace event 'one' does not exist"}, ""},
		{"enable=one,enable=-two,file=x", []string{"warning: trace event 'two' does not exist"}, ""},
		{"bdrv_*", nil, ""},
		{"help", nil, ""},
		{"events=" + file, []string{
			file + ":2: warning: trace event 'one' does not exist", file + ":3: warning: trace event 'two' does not exist",
		}, ""},
		{"one,foo=1", nil, "Invalid parameter 'foo'"},
		{"events=/nonexistent", nil, "/nonexistent: No such file or directory"},
		{"events=/dev/zero", nil, "/dev/zero: File too large"},
	} {
		got, err := Parse(c.text)
		if diff := cmp.Diff(c.want, got); diff != "" || (err == nil) != (c.err == "") || err != nil && err.Error() != c.err {
			t.Errorf("%s: %v %s", c.text, err, diff)
		}
	}
}
