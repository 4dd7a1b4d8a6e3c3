package secret

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/qemuopts"
)

func parse(text string) blockdev.Options {
	o := blockdev.Options{}
	for _, p := range qemuopts.Parse(text, "qom-type") {
		o[p.Key] = p.Value
	}
	return o
}

func TestDefine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte("aGVsbG8=\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for option, want := range map[string]string{
		"secret,id=a,data=hunter2":                         "hunter2",
		"secret,id=b,data=one,,two":                        "one,two",
		"secret,id=c,data=aGVsbG8=,format=base64":          "hello",
		"secret,id=d,file=" + file:                         "aGVsbG8=\n",
		"secret,id=e,format=base64,file=" + file:           "hello",
		"qom-type=secret,id=f,data=raw is text,format=raw": "raw is text",
	} {
		o := parse(option)
		id, err := o["id"], Define(o)
		if err != nil {
			t.Errorf("%s: %v", option, err)
			continue
		}
		got, err := Lookup(id)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", option, got, err, want)
		}
		Remove(id)
		if _, err := Lookup(id); blockdev.Message(err) != "No secret with id '"+id+"'" {
			t.Errorf("after Remove: %v", err)
		}
	}
}

func TestDefineRefuses(t *testing.T) {
	if err := Add("taken", nil); err != nil {
		t.Fatal(err)
	}
	defer Remove("taken")
	for option, want := range map[string]string{
		"rng-random,id=a":                  "invalid object type: rng-random",
		"secret,data=x":                    "Parameter 'id' is missing",
		"secret,id=x":                      "Either 'file' or 'data' must be provided",
		"secret,id=x,data=a,file=b":        "'file' and 'data' are mutually exclusive",
		"secret,id=x,data=a,format=hex":    "Parameter 'format' does not accept value 'hex'",
		"secret,id=x,data=!,format=base64": "Base64 data contains invalid characters",
		"secret,id=x,file=/no/such/file":   "Unable to read /no/such/file: No such file or directory",
		"secret,id=taken,data=x":           "attempt to add duplicate property 'taken' to object (type 'container')",
		"secret,id=x,data=a,keyid=other":   "No secret with id 'other'",
	} {
		if err := Define(parse(option)); blockdev.Message(err) != want {
			t.Errorf("%s: %q, want %q", option, blockdev.Message(err), want)
		}
	}
}
