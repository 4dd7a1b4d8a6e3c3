// Package secret keeps passphrases and keys apart from the options that use them: an
// option names a secret (key-secret=s0), and --object defines it
// (secret,id=s0,file=/run/key). So they are neither shown nor stored with other options.
package secret

import (
	"encoding/base64"
	"io"
	"os"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/qmon/qmon/blockdev"
)

// maxFile is how long a file with a secret may be, bytes: keys are short, and /dev/zero is
// endless.
const maxFile = 1 << 20

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
	store.RLock()
	defer store.RUnlock()
	data, ok := store.m[id]
	if !ok {
		return nil, blockdev.Errorf(blockdev.ErrNotFound, "open", "", "No secret with id '%s'", id)
	}
	if !utf8.Valid(data) {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", "", "Data from secret %s is not valid UTF-8", id)
	}
	return append([]byte(nil), data...), nil
}

// Define adds what an object's options describe, "qom-type" and "id" among them:
//
//	secret,id=ID[,data=TEXT|,file=NAME][,format=raw|base64]
func Define(o blockdev.Options) error {
	var d definition
	for _, k := range o.Keys() {
		if err := d.set(k, o[k]); err != nil {
			return err
		}
	}
	if d.kind != "secret" {
		return blockdev.Errorf(blockdev.ErrNotSupported, "object-add", "", "invalid object type: %s", d.kind)
	}
	if d.id == "" {
		return blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", "Parameter 'id' is missing")
	}
	data, err := d.load()
	if err != nil {
		return err
	}
	return Add(d.id, data)
}

// definition is a parsed --object.
type definition struct {
	kind, id, file, format string
	data                   *string
}

func (d *definition) set(key, value string) error {
	switch key {
	case "qom-type":
		d.kind = value
	case "id":
		d.id = value
	case "data":
		d.data = &value
	case "file":
		d.file = value
	case "format":
		if value != "raw" && value != "base64" {
			return blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", "Parameter 'format' does not accept value '%s'", value)
		}
		d.format = value
	case "keyid", "iv":
		return blockdev.Errorf(blockdev.ErrNotSupported, "object-add", "", "secrets that are encrypted with another are not supported")
	default:
		return blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", "Parameter '%s' is unexpected", key)
	}
	return nil
}

// load gets the secret's bytes.
func (d *definition) load() ([]byte, error) {
	var data []byte
	switch {
	case d.data != nil && d.file != "":
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", "'file' and 'data' are mutually exclusive")
	case d.data != nil:
		data = []byte(*d.data)
	case d.file != "":
		var err error
		if data, err = readFile(d.file); err != nil {
			return nil, err
		}
	default:
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", "Either 'file' or 'data' must be provided")
	}
	if d.format == "base64" {
		plain, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(string(data)), ""))
		if err != nil {
			return nil, blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", "Base64 data '%s' is not valid", data)
		}
		return plain, nil
	}
	return data, nil
}

// readFile reads a file, or a pipe, that is not too long.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	defer func() { _ = f.Close() }() // it was only read
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, unreadable(name, err)
	}
	if len(data) > maxFile {
		return nil, blockdev.Errorf(blockdev.ErrLimit, "object-add", name, "secrets are not longer than %d bytes", maxFile)
	}
	return data, nil
}

func unreadable(name string, err error) error {
	return &blockdev.Error{Kind: blockdev.ErrInvalid, Op: "object-add", File: name, Offset: blockdev.NoOffset, Text: "Unable to read " + name, Err: err}
}
