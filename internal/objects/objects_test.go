package objects_test

import (
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/secret"
	"github.com/qmon/qmon/blockdev/tlscreds"
	"github.com/qmon/qmon/internal/objects"
	"github.com/qmon/qmon/internal/peer"
)

// TestOneSetOfIDs: objects of whatever kind share their IDs, until they are removed.
func TestOneSetOfIDs(t *testing.T) {
	const want = "attempt to add duplicate property 'a' to object (type 'container')"
	kinds := []string{"secret,id=a,data=x", "authz-simple,id=a,identity=x", "throttle-group,id=a"}
	for _, first := range kinds {
		for _, second := range kinds {
			var s objects.Set
			if err := s.Define(first); err != nil {
				t.Fatal(err)
			}
			if err := s.Define(second); err == nil || blockdev.Message(err) != want {
				t.Errorf("%s, %s: %v", first, second, err)
			}
			s.Remove()
		}
	}
}

// TestAnotherKind names an object where one of another kind is meant.
func TestAnotherKind(t *testing.T) {
	var s objects.Set
	defer s.Remove()
	if err := s.Define("authz-simple,id=a,identity=x"); err != nil {
		t.Fatal(err)
	}
	_, secretErr := secret.Lookup("a")
	_, credsErr := tlscreds.Lookup("a", true)
	for want, err := range map[string]error{
		"Object with id 'a' is not a secret":        secretErr,
		"Object with id 'a' is not TLS credentials": credsErr,
	} {
		if err == nil || blockdev.Message(err) != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestIDsInTheirWords asks qemu-img.
func TestIDsInTheirWords(t *testing.T) {
	peer.Need(t, "qemu-img")
	args := []string{"secret,id=a,data=x", "authz-simple,id=a,identity=x"}
	out, err := exec.Command("qemu-img", "info", "--object", args[0], "--object", args[1], filepath.Join(t.TempDir(), "none")).CombinedOutput()
	if err == nil {
		t.Fatal("qemu-img takes both")
	}
	var s objects.Set
	defer s.Remove()
	if err := s.Define(args[0]); err != nil {
		t.Fatal(err)
	}
	theirs := strings.TrimSpace(strings.TrimPrefix(string(out), "qemu-img: "))
	if err := s.Define(args[1]); err == nil || blockdev.Message(err) != theirs {
		t.Errorf("%v, want %s", err, theirs)
	}
}
