// Package secret keeps passphrases and keys apart from the options that use them: an
// option names a secret (key-secret=s0), and --object defines it
// (secret,id=s0,file=/run/key). So they are neither shown nor stored with other options.
package secret

import (
	"bytes"
	"unicode/utf8"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/internal/registry"
)

// data are the bytes of a secret, which do not change.
type data []byte

// Add makes a secret known to the whole program. It fails with ErrExists if the ID is taken.
func Add(id string, secret []byte) error { return registry.Add(id, data(bytes.Clone(secret))) }

// Remove forgets a secret.
func Remove(id string) {
	if _, ok := registry.Lookup(id).(data); ok {
		registry.Remove(id)
	}
}

// Lookup finds a secret that is a passphrase, and therefore text.
func Lookup(id string) ([]byte, error) {
	secret, err := lookup(id)
	if err == nil && (!utf8.Valid(secret) || bytes.IndexByte(secret, 0) >= 0) {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "Data from secret %s is not valid UTF-8", id)
	}
	return secret, err
}

// lookup finds a secret that may be anything.
func lookup(id string) ([]byte, error) {
	switch found := registry.Lookup(id).(type) {
	case data:
		return bytes.Clone(found), nil
	case nil:
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "open", "", "No secret with id '%s'", id)
	default:
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "Object with id '%s' is not a secret", id)
	}
}
