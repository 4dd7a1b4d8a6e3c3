package luks1

import (
	"slices"
	"strings"
	"time"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/secret"
	"github.com/qmon/qmon/formats/internal/sectors"
)

const (
	// defaultIterTime is how long deriving a key takes: QEMU's and cryptsetup's.
	defaultIterTime = 2 * time.Second
	// maxIterTime bounds how long making a key slot takes.
	maxIterTime = time.Minute
)

// Names of the options, which qcow2 has behind "encrypt.".
const (
	KeySecret    = "key-secret"
	optCipher    = "cipher-alg"
	optMode      = "cipher-mode"
	optIVGen     = "ivgen-alg"
	optIVHash    = "ivgen-hash-alg"
	optHash      = "hash-alg"
	optIterTime  = "iter-time"
	optState     = "state"
	optNewSecret = "new-secret"
	optOldSecret = "old-secret"
	optKeyslot   = "keyslot"
)

// CreateTable is the options of a new volume besides its secret.
func CreateTable(prefix string) blockdev.OptionTable {
	return blockdev.OptionTable{
		{Name: prefix + optCipher, Type: blockdev.OptString, Help: "Name of encryption cipher algorithm"},
		{Name: prefix + optMode, Type: blockdev.OptString, Help: "Name of encryption cipher mode"},
		{Name: prefix + optIVGen, Type: blockdev.OptString, Help: "Name of IV generator algorithm"},
		{Name: prefix + optIVHash, Type: blockdev.OptString, Help: "Name of IV generator hash algorithm"},
		{Name: prefix + optHash, Type: blockdev.OptString, Help: "Name of encryption hash algorithm"},
		{Name: prefix + optIterTime, Type: blockdev.OptInt, Help: "Time to spend in PBKDF in milliseconds"},
	}
}

// AmendTable is the options that change key slots.
func AmendTable(prefix string) blockdev.OptionTable {
	return blockdev.OptionTable{
		{Name: prefix + optState, Type: blockdev.OptString, Help: "Select new state of affected keyslots (active/inactive)"},
		{Name: prefix + optKeyslot, Type: blockdev.OptSigned, Help: "Select a single keyslot to modify explicitly"},
		{Name: prefix + optOldSecret, Type: blockdev.OptString, Help: "Select all keyslots that match this password"},
		{Name: prefix + optNewSecret, Type: blockdev.OptString, Help: "New secret to set in the matching keyslots. Empty string to erase"},
		{Name: prefix + optIterTime, Type: blockdev.OptInt, Help: "Time to spend in PBKDF in milliseconds"},
	}
}

// known are the values that QEMU's options take. Some are refused later, as not supported.
var known = map[string][]string{
	optCipher: strings.Fields("aes-128 aes-192 aes-256 des 3des cast5-128 serpent-128 serpent-192 serpent-256 twofish-128 twofish-192 twofish-256"),
	optMode:   strings.Fields("ecb cbc xts ctr"),
	optIVGen:  strings.Fields("plain plain64 essiv"),
	optIVHash: strings.Fields("md5 sha1 sha224 sha256 sha384 sha512 ripemd160"),
	optHash:   strings.Fields("md5 sha1 sha224 sha256 sha384 sha512 ripemd160"),
	optState:  {stateActive, stateInactive},
}

// values reads options behind a prefix, and keeps the first error.
type values struct {
	v        blockdev.Values
	prefix   string
	op, file string
	err      error
}

func (o *values) refuse(format string, args ...any) {
	if o.err == nil {
		o.err = blockdev.Errorf(blockdev.ErrInvalid, o.op, o.file, format, args...)
	}
}

// word is the value of an option, one of those known.
func (o *values) word(name, otherwise string) string {
	v, ok := o.v[o.prefix+name].(string)
	if !ok {
		return otherwise
	}
	if !slices.Contains(known[name], v) {
		o.refuse("Parameter '%s' does not accept value '%s'", name, v)
	}
	return v
}

func (o *values) iterTime() time.Duration {
	ms, ok := o.v[o.prefix+optIterTime].(int64)
	if !ok {
		return defaultIterTime
	}
	if ms > maxIterTime.Milliseconds() {
		o.refuse("iter-time is more than %d milliseconds", maxIterTime.Milliseconds())
	}
	return time.Duration(ms) * time.Millisecond
}

// Passphrase is that of the secret that the option key-secret names.
func Passphrase(v blockdev.Values, prefix, op, file string) ([]byte, error) {
	id, _ := v[prefix+KeySecret].(string)
	if id == "" {
		return nil, blockdev.Errorf(blockdev.ErrInvalid, op, file, "Parameter '%s%s' is required for cipher", prefix, KeySecret)
	}
	return secret.Lookup(id)
}

// Recipe is what a new volume is to be like.
type Recipe struct {
	Spec       sectors.Spec
	Hash       string
	IterTime   time.Duration
	passphrase []byte
}

// ParseCreate reads the options of a new volume, with QEMU's defaults.
func ParseCreate(v blockdev.Values, prefix, file string) (r Recipe, err error) {
	o := values{v: v, prefix: prefix, op: "create", file: file}
	r.Spec = sectors.Spec{Cipher: o.word(optCipher, "aes-256"), Mode: o.word(optMode, "xts"), IVGen: o.word(optIVGen, "plain64")}
	r.Hash = o.word(optHash, "sha256")
	if ivHash := o.word(optIVHash, "sha256"); r.Spec.IVGen == sectors.GenESSIV {
		r.Spec.IVHash = ivHash // others have no use for one
	}
	r.IterTime = o.iterTime()
	if o.err != nil {
		return r, o.err
	}
	r.passphrase, err = Passphrase(v, prefix, "create", file)
	return r, err
}

// HeaderSize is how long the header of the volume is, with its key slots.
func (r Recipe) HeaderSize() (int64, error) {
	h := &Header{Spec: r.Spec, Hash: r.Hash}
	if err := h.checkNames(); err != nil {
		return 0, err
	}
	h.layOut()
	return h.Payload, nil
}

// Fields are what info tells of the header, in the order and with the keys of QEMU. Where
// several formats are possible, format names this one.
func (h *Header) Fields(format string) []blockdev.InfoField {
	fields := []blockdev.InfoField{
		{Key: optIVGen, Value: h.IVGen},
		{Key: optHash, Value: h.Hash},
		{Key: optCipher, Value: h.Cipher},
		{Key: "uuid", Value: h.UUID},
	}
	if format != "" {
		fields = append(fields, blockdev.InfoField{Key: "format", Value: format})
	}
	if h.IVHash != "" {
		fields = append(fields, blockdev.InfoField{Key: optIVHash, Value: h.IVHash})
	}
	var slots []any
	for _, s := range h.Slots {
		slots = append(slots, s.fields())
	}
	return append(fields,
		blockdev.InfoField{Key: optMode, Value: h.Mode},
		blockdev.InfoField{Key: "slots", Value: slots},
		blockdev.InfoField{Key: "payload-offset", Value: h.Payload},
		blockdev.InfoField{Key: "master-key-iters", Value: int64(h.Iterations)})
}

func (s Slot) fields() []blockdev.InfoField {
	fields := []blockdev.InfoField{{Key: "active", Value: s.Active}}
	if s.Active {
		fields = append(fields, blockdev.InfoField{Key: "iters", Value: int64(s.Iterations)})
	}
	fields = append(fields, blockdev.InfoField{Key: "key-offset", Value: s.Offset})
	if s.Active {
		fields = append(fields, blockdev.InfoField{Key: "stripes", Value: int64(s.Stripes)})
	}
	return fields
}
