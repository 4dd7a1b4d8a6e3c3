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
		{"file=a.img,if=none", "", List{{Key: "file", Value: "a.img"}, {Key: "if", Value: "none"}}},
		{"file=a,,b.img,id=x", "", List{{Key: "file", Value: "a,b.img"}, {Key: "id", Value: "x"}}},
		{"virt,aclint=on", "type", List{{Key: "type", Value: "virt"}, {Key: "aclint", Value: "on"}}},
		{"type=virt", "type", List{{Key: "type", Value: "virt"}}},
		{"server,nowait", "", List{{"server", "on", "server"}, {"wait", "off", "nowait"}}},
		{"file=a=b", "", List{{Key: "file", Value: "a=b"}}},
		{"file=,id=x", "", List{{Key: "file", Value: ""}, {Key: "id", Value: "x"}}},
		{"a,,", "type", List{{Key: "type", Value: "a,"}}},
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
