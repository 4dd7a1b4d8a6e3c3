package parent

import "testing"

func TestWindowsName(t *testing.T) {
	for _, c := range []struct {
		relative string
		others   []string
		want     string
	}{
		{`.\base.vhd`, []string{`C:\other.vhd`}, "base.vhd"},
		{`..\images\base.vhd`, nil, "../images/base.vhd"},
		{"", []string{"", `C:\images\base.vhd`}, "base.vhd"},
		{"", []string{`\\?\Volume{26A21BDA}\base.vhd`}, "base.vhd"},
		{"", nil, ""},
	} {
		if got := WindowsName(c.relative, c.others...); got != c.want {
			t.Errorf("%q, %q: %q, want %q", c.relative, c.others, got, c.want)
		}
	}
}
