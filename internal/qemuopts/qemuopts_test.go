package qemuopts

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	for _, c := range []struct {
		in, implied string
		want        List
	}{
		{"", "", nil},
		{"file=a.img,if=none", "", List{{"file", "a.img"}, {"if", "none"}}},
		{"file=a,,b.img,id=x", "", List{{"file", "a,b.img"}, {"id", "x"}}},
		{"virt,aclint=on", "type", List{{"type", "virt"}, {"aclint", "on"}}},
		{"type=virt", "type", List{{"type", "virt"}}},
		{"server,nowait", "", List{{"server", "on"}, {"wait", "off"}}},
		{"file=a=b", "", List{{"file", "a=b"}}},
		{"file=,id=x", "", List{{"file", ""}, {"id", "x"}}},
		{"a,,", "type", List{{"type", "a,"}}},
	} {
		if d := cmp.Diff(c.want, Parse(c.in, c.implied)); d != "" {
			t.Errorf("Parse(%q): %s", c.in, d)
		}
	}
}

func TestCheckID(t *testing.T) {
	for id, ok := range map[string]bool{"d0": true, "a-b.c_d": true, "": false, "0d": false, "a b": false, "#x": false} {
		if got := CheckID(id) == nil; got != ok {
			t.Errorf("CheckID(%q) = %v, want %v", id, got, ok)
		}
	}
}
