// Package secret keeps passphrases and keys apart from the options that use them: an
// option names a secret (key-secret=s0), and --object defines it
// (secret,id=s0,file=/run/key). So they are neither shown nor stored with other options.
package secret

import (
	"bytes"
	"sync"
	"unicode/utf8"

	"github.com/qmon/qmon/blockdev"
)

var store = struct {
	sync.RWMutex
	m map[string][]byte
}{m: map[string][]byte{}}

// Add makes a secret known to the whole program. It fails with ErrExists if the ID is taken.
func Add(id string, data []byte) error {
	store.Lock()
	defer store.Unlock()
	if _, ok := store.m[id]; ok {
		return blockdev.Errorf(blockdev.ErrExists, "object-add", "", "attempt to add duplicate property '%s' to object (type 'container')", id)
	}
	store.m[id] = append([]byte(nil), data...)
	return nil
}

// Remove forgets a secret.
func Remove(id string) {
	store.Lock()
	defer store.Unlock()
	clear(store.m[id])
	delete(store.m, id)
}

// Lookup finds a secret that is a passphrase, and therefore text.
func Lookup(id string) ([]byte, error) {
	data, err := lookup(id)
	if err == nil && (!utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0) {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "Data from secret %s is not valid UTF-8", id)
	}
	return data, err
}

// lookup finds a secret that may be anything.
func lookup(id string) ([]byte, error) {
	store.RLock()
	defer store.RUnlock()
	data, ok := store.m[id]
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "open", "", "No secret with id '%s'", id)
	}
	return append([]byte(nil), data...), nil
}
