package blockdev

import "testing"

func TestDoubleQuoted(t *testing.T) {
	for in, want := range map[string]string{
		`{"a": "b"}`:           `{"a": "b"}`,
		`{'a': 'b', "c": 'd'}`: `{"a": "b", "c": "d"}`,
		`{"it's": 1}`:          `{"it's": 1}`,
		`{'say "x"': 1}`:       `{"say \"x\"": 1}`,
		`{'it\'s': '\\'}`:      `{"it's": "\\"}`,
		`{"a\"'b": 'c'}`:       `{"a\"'b": "c"}`,
		`'\`:                   `"\`,
		``:                     ``,
	} {
		if got := doubleQuoted(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}
