package secret

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/base64"
	"io"
	"os"
	"strings"

	"github.com/qmon/qmon/blockdev"
)

// maxFile is how long a file with a secret may be, bytes: keys are short, and /dev/zero is
// endless.
const maxFile = 1 << 20

// Define adds what an object's options describe, "qom-type" and "id" among them:
//
//	secret,id=ID[,data=TEXT|,file=NAME][,format=raw|base64][,keyid=ID,iv=BASE64]
//
// With keyid the bytes are encrypted; see decrypt.
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
	keyID, iv              string // of what is encrypted
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
	case "keyid":
		d.keyID = value
	case "iv":
		d.iv = value
	default:
		return blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", "Parameter '%s' is unexpected", key)
	}
	return nil
}

// load gets the secret's bytes.
func (d *definition) load() ([]byte, error) {
	data, err := d.input()
	if err == nil && d.format == "base64" {
		data, err = decode(data)
	}
	if err == nil && d.keyID != "" {
		return d.decrypt(data)
	}
	return data, err
}

// input is what was given, as it was given.
func (d *definition) input() ([]byte, error) {
	switch {
	case d.data != nil && d.file != "":
		return nil, refuse("'file' and 'data' are mutually exclusive")
	case d.data != nil:
		return []byte(*d.data), nil
	case d.file != "":
		return readFile(d.file)
	}
	return nil, refuse("Either 'file' or 'data' must be provided")
}

func refuse(format string, args ...any) error {
	return blockdev.Errorf(blockdev.ErrInvalid, "object-add", "", format, args...)
}

// base64Bytes are those that QEMU takes in base64.
const base64Bytes = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/=\n"

// decode reads base64, which may be in lines.
func decode(text []byte) ([]byte, error) {
	if strings.Trim(string(text), base64Bytes) != "" {
		return nil, refuse("Base64 data contains invalid characters")
	}
	plain, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return nil, refuse("Base64 data is not valid")
	}
	return plain, nil
}

// masterKeyBytes is how long the secret is that decrypts others: it is a key of AES-256.
const masterKeyBytes = 32

// decrypt does AES-256 in CBC mode with another secret as the key. The last byte says how
// many bytes fill the last block.
func (d *definition) decrypt(data []byte) ([]byte, error) {
	key, err := lookup(d.keyID)
	if err != nil {
		return nil, err
	}
	if len(key) != masterKeyBytes {
		return nil, refuse("Key should be %d bytes in length", masterKeyBytes)
	}
	if d.iv == "" {
		return nil, refuse("IV is required to decrypt secret")
	}
	iv, err := decode([]byte(d.iv))
	switch {
	case err != nil:
		return nil, err
	case len(iv) != aes.BlockSize:
		return nil, refuse("IV should be %d bytes in length not %d", aes.BlockSize, len(iv))
	case len(data)%aes.BlockSize != 0:
		return nil, refuse("Length %d must be a multiple of block size %d", len(data), aes.BlockSize)
	case len(data) == 0:
		return nil, nil
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	cipher.NewCBCDecrypter(block, iv).CryptBlocks(data, data)
	padding := int(data[len(data)-1])
	if padding > aes.BlockSize {
		return nil, refuse("Incorrect number of padding bytes (%d) found on decrypted data", padding)
	}
	return data[:len(data)-padding], nil
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
