package authz

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/registry"
)

func define(t *testing.T, o blockdev.Options) Authorizer {
	t.Helper()
	o["id"] = t.Name()
	if err := Define(o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { registry.Remove(t.Name()) })
	a, err := Lookup(t.Name())
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func check(t *testing.T, a Authorizer, identity string, want bool) {
	t.Helper()
	if ok, err := a.Allowed(identity); ok != want || err != nil {
		t.Errorf("%q: %v, %v", identity, ok, err)
	}
}

func TestTheFirstRuleThatMatchesDecides(t *testing.T) {
	a := define(t, blockdev.Options{
		"qom-type":      "authz-list",
		"rules.0.match": "CN=evil,O=x", "rules.0.policy": "deny",
		"rules.1.match": "CN=*,O=x", "rules.1.policy": "allow", "rules.1.format": "glob",
		"rules.2.match": "CN=*", "rules.2.policy": "allow", "rules.2.format": "exact",
	})
	for identity, want := range map[string]bool{
		"CN=evil,O=x": false, "CN=good,O=x": true, "CN=a/b,O=x": true, "CN=good,O=y": false, "CN=*": true, "": false,
	} {
		check(t, a, identity, want)
	}
}

func TestSimpleAndPolicy(t *testing.T) {
	check(t, simple("CN=a"), "CN=a", true)
	check(t, simple("CN=a"), "CN=ab", false)
	check(t, define(t, blockdev.Options{"qom-type": "authz-list", "policy": "allow"}), "anybody", true)
}

// TestListFile: the list is read again when the file has changed, and nobody is let in
// while it cannot be read.
func TestListFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "list")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		later := time.Now().Add(time.Duration(len(text)) * time.Second) // clocks of file systems are coarse
		if err := os.Chtimes(name, later, later); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"policy":"deny","rules":[{"match":"a?","policy":"allow","format":"glob"}]}`)
	a := define(t, blockdev.Options{"qom-type": "authz-list-file", "filename": name})
	check(t, a, "ab", true)
	write(`{"policy":"deny"}`)
	check(t, a, "ab", false)
	write(`{"policy":`)
	if ok, err := a.Allowed("ab"); ok || err == nil {
		t.Errorf("a broken file: %v, %v", ok, err)
	}
	write(`{"policy":"allow"}`)
	check(t, a, "ab", true)
}

func TestMistakes(t *testing.T) {
	for text, o := range map[string]blockdev.Options{
		"Parameter 'identity' is missing":                         {"qom-type": "authz-simple"},
		"Parameter 'foo' is unexpected":                           {"qom-type": "authz-simple", "identity": "x", "foo": "y"},
		"Parameter 'policy' does not accept value 'x'":            {"qom-type": "authz-list", "policy": "x"},
		"Parameter 'rules.0.policy' is missing":                   {"qom-type": "authz-list", "rules.0.match": "x"},
		"Parameter 'rules.0.match' is missing":                    {"qom-type": "authz-list", "rules.0.policy": "allow"},
		"Parameter 'rules.0' missing":                             {"qom-type": "authz-list", "rules.1.match": "x"},
		"Parameter 'format' does not accept value 'x'":            {"qom-type": "authz-list", "rules.0.match": "x", "rules.0.policy": "deny", "rules.0.format": "x"},
		"Invalid parameter type for 'rules', expected: array":     {"qom-type": "authz-list", "rules": "x"},
		"'[' is no pattern":                                       {"qom-type": "authz-list", "rules.0.match": "[", "rules.0.policy": "deny", "rules.0.format": "glob"},
		"filename not provided":                                   {"qom-type": "authz-list-file"},
		"Unable to read /no/such/file: No such file or directory": {"qom-type": "authz-list-file", "filename": "/no/such/file"},
		"invalid object type: authz-pam":                          {"qom-type": "authz-pam", "service": "x"},
	} {
		if err := Define(o); blockdev.Message(err) != text {
			t.Errorf("%v: %v, not %s", o, blockdev.Message(err), text)
		}
	}
	if _, err := Lookup("nobody"); !errors.Is(err, blockdev.ErrNotFound) {
		t.Error(err)
	}
}

// TestGlobsExclude has patterns of fnmatch(3), as QEMU takes them.
func TestGlobsExclude(t *testing.T) {
	for _, c := range []struct {
		pattern, identity string
		want              bool
	}{
		{"CN=[!x]*", "CN=vm", true},
		{"CN=[!x]*", "CN=xm", false},
		{"CN=[!x]*", "CN=!m", true},
		{"CN=[a!]", "CN=!", true},
		{`CN=\[!x]`, "CN=[!x]", true},
		{"CN=[!a-m]/?", "CN=n/o", true},
	} {
		t.Run(c.pattern+" "+c.identity, func(t *testing.T) {
			check(t, define(t, blockdev.Options{"qom-type": "authz-list",
				"rules.0.match": c.pattern, "rules.0.policy": "allow", "rules.0.format": "glob"}), c.identity, c.want)
		})
	}
}
