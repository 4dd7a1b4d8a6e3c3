package sheepdog

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/blockdev"
)

func TestNames(t *testing.T) {
	local := gateway{"tcp", "127.0.0.1:7000"}
	for text, want := range map[string]target{
		"sheepdog:disk":                              {vdiName{"disk", "", 0}, local},
		"sheepdog:disk:tag":                          {vdiName{"disk", "tag", 0}, local},
		"sheepdog:disk:3":                            {vdiName{"disk", "", 3}, local},
		"sheepdog:disk:0":                            {vdiName{"disk", "0", 0}, local},
		"sheepdog:disk:3a":                           {vdiName{"disk", "3a", 0}, local},
		"sheepdog:host:7001:disk":                    {vdiName{"disk", "", 0}, gateway{"tcp", "host:7001"}},
		"sheepdog:host:7001:disk:tag":                {vdiName{"disk", "tag", 0}, gateway{"tcp", "host:7001"}},
		"sheepdog://host:7001/disk#tag":              {vdiName{"disk", "tag", 0}, gateway{"tcp", "host:7001"}},
		"sheepdog+tcp://host/disk#12":                {vdiName{"disk", "", 12}, gateway{"tcp", "host:7000"}},
		"sheepdog:///disk":                           {vdiName{"disk", "", 0}, local},
		"sheepdog://[::1]:7001/my%20disk":            {vdiName{"my disk", "", 0}, gateway{"tcp", "[::1]:7001"}},
		"sheepdog+unix:///disk?socket=/run/sock":     {vdiName{"disk", "", 0}, gateway{"unix", "/run/sock"}},
		"sheepdog+unix:///disk?socket=/run/sock#tag": {vdiName{"disk", "tag", 0}, gateway{"unix", "/run/sock"}},
	} {
		got, err := parseName(text)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(target{}, vdiName{}, gateway{})); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", text, err, diff)
		}
	}
	for _, text := range []string{
		"sheepdog:", "sheepdog::tag", "sheepdog:a:b:c", "sheepdog:a:1:c:d:e", "sheepdog:host:99999:disk",
		"sheepdog://host/", "sheepdog://host/disk?x=y", "sheepdog+unix:///disk", "sheepdog+unix://host/disk?socket=s",
		"sheepdog+ssh://host/disk", "sheepdog://host:port/disk",
	} {
		if got, err := parseName(text); !errors.Is(err, blockdev.ErrInvalid) {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}

func TestOptions(t *testing.T) {
	for _, c := range []struct {
		options blockdev.Options
		want    string // the first gateway, "" for an error
	}{
		{blockdev.Options{"vdi": "d"}, "127.0.0.1:7000"},
		{blockdev.Options{"vdi": "d", "server.host": "h", "server.port": "1"}, "h:1"},
		{blockdev.Options{"vdi": "d", "server.type": "unix", "server.path": "/s"}, "/s"},
		{blockdev.Options{"vdi": "d", "gateways": "a:1 /b"}, "127.0.0.1:7000"},
		{blockdev.Options{"vdi": "d", "gateways": "a"}, ""},
		{blockdev.Options{"vdi": "d", "server.type": "unix"}, ""},
		{blockdev.Options{"vdi": "d", "server.path": "/s"}, ""},
		{blockdev.Options{"vdi": "d", "tag": "t", "snap-id": "1"}, ""},
		{blockdev.Options{"vdi": "d", "filename": "sheepdog:d"}, ""},
		{blockdev.Options{"vdi": "d", "request-timeout": "0"}, ""},
		{blockdev.Options{}, ""},
	} {
		v, err := openOptions.Parse(c.options)
		if err != nil {
			t.Fatal(err)
		}
		s, err := parseSettings(v)
		if (err != nil) != (c.want == "") {
			t.Errorf("%v: %v", c.options, err)
		} else if err == nil && s.gateways[0].address != c.want {
			t.Errorf("%v: %+v", c.options, s.gateways)
		}
	}
}
