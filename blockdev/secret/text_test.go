package secret

import (
	"testing"

	"github.com/qmon/qmon/blockdev"
)

// TestPassphrasesAreText: a secret may hold anything until it is used as a passphrase.
func TestPassphrasesAreText(t *testing.T) {
	if err := Define(parse("secret,id=binary,data=\xff")); err != nil {
		t.Fatal(err)
	}
	defer Remove("binary")
	const want = "Data from secret binary is not valid UTF-8"
	if _, err := Lookup("binary"); blockdev.Message(err) != want {
		t.Errorf("%v, not %q", err, want)
	}
}
