package luks

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
	"github.com/qmon/qmon/formats/internal/sectors"
)

var createOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "key-secret", Type: blockdev.OptString, Help: "ID of the secret that provides the keyslot passphrase"},
	{Name: "cipher-alg", Type: blockdev.OptString, Help: "Name of encryption cipher algorithm"},
	{Name: "cipher-mode", Type: blockdev.OptString, Help: "Name of encryption cipher mode"},
	{Name: "ivgen-alg", Type: blockdev.OptString, Help: "Name of IV generator algorithm"},
	{Name: "ivgen-hash-alg", Type: blockdev.OptString, Help: "Name of IV generator hash algorithm"},
	{Name: "hash-alg", Type: blockdev.OptString, Help: "Name of encryption hash algorithm"},
	{Name: "iter-time", Type: blockdev.OptInt, Help: "Time to spend in PBKDF in milliseconds"},
}

// defaultIterTime is how long deriving a key takes, milliseconds: QEMU's and cryptsetup's.
const defaultIterTime = 2000

// maxIterTime bounds how long making an image takes.
const maxIterTime = 60_000

// known are the values that QEMU's options take. Some are refused later, as not supported.
var known = map[string][]string{
	"cipher-alg":     strings.Fields("aes-128 aes-192 aes-256 des 3des cast5-128 serpent-128 serpent-192 serpent-256 twofish-128 twofish-192 twofish-256"),
	"cipher-mode":    strings.Fields("ecb cbc xts ctr"),
	"ivgen-alg":      strings.Fields("plain plain64 essiv"),
	"ivgen-hash-alg": strings.Fields("md5 sha1 sha224 sha256 sha384 sha512 ripemd160"),
	"hash-alg":       strings.Fields("md5 sha1 sha224 sha256 sha384 sha512 ripemd160"),
}

// Create writes a header with one key slot, and makes the file as long as the disk needs.
func Create(_ context.Context, r blockdev.CreateRequest) error {
	if r.Backing.Name != "" {
		return blockdev.Errorf(blockdev.ErrNotSupported, "create", r.Filename, "Backing file not supported for file format 'luks'")
	}
	spec, hash, iterTime, err := parseCreate(r)
	if err != nil {
		return err
	}
	passphrase, err := passphrase(r.Options, "create", r.Filename)
	if err != nil {
		return err
	}
	h, key, iterations, err := luks1.New(spec, hash, iterTime)
	if err != nil {
		return err
	}
	size := (r.Size + sectorSize - 1) / sectorSize * sectorSize
	if r.Size < 0 || size > blockdev.MaxSize-h.Payload {
		return blockdev.Errorf(blockdev.ErrLimit, "create", r.Filename, "The requested file size is too large")
	}
	if err := blockdev.Resize(r.File, h.Payload+size, blockdev.ResizeOptions{}); err != nil {
		return err
	}
	material, err := h.Fill(0, key, passphrase, iterations)
	if err != nil {
		return err
	}
	if _, err := r.File.WriteAt(material, h.Slots[0].Offset); err != nil {
		return err
	}
	_, err = r.File.WriteAt(h.Encode(), 0)
	return err
}

// parseCreate checks the options, with QEMU's defaults.
func parseCreate(r blockdev.CreateRequest) (s sectors.Spec, hash string, iterTime time.Duration, err error) {
	get := func(name, otherwise string) string {
		v, ok := r.Options[name].(string)
		if !ok {
			return otherwise
		}
		if err == nil && !slices.Contains(known[name], v) {
			err = blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "Parameter '%s' does not accept value '%s'", name, v)
		}
		return v
	}
	s = sectors.Spec{Cipher: get("cipher-alg", "aes-256"), Mode: get("cipher-mode", "xts"), IVGen: get("ivgen-alg", "plain64")}
	hash = get("hash-alg", "sha256")
	if ivHash := get("ivgen-hash-alg", "sha256"); s.IVGen == "essiv" {
		s.IVHash = ivHash // others have no use for one
	}
	ms := int64(defaultIterTime)
	if v, ok := r.Options["iter-time"].(int64); ok {
		ms = v
	}
	if err == nil && (ms < 1 || ms > maxIterTime) {
		err = blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "iter-time is not from 1 to %d milliseconds", maxIterTime)
	}
	return s, hash, time.Duration(ms) * time.Millisecond, err
}
