package luks2

import (
	"context"
	"crypto/pbkdf2"
	"crypto/subtle"
	"io"
	"math"

	"golang.org/x/crypto/argon2"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/luks1"
	"github.com/qmon/qmon/formats/internal/sectors"
)

// Limits of what a header may ask for.
const (
	maxSlots   = 32
	maxKey     = 128  // bytes
	maxStripes = 4000 // what every volume has
	minDigest  = 16   // bytes: a shorter one would take wrong passphrases
	// maxIterations of pbkdf2: less than a minute.
	maxIterations = 1 << 27
	// maxMemory of argon2, KiB: what cryptsetup takes at most of its own accord.
	maxMemory = 1 << 20
	// maxWork of argon2, KiB times passes: less than two minutes.
	maxWork  = 1 << 26
	maxLanes = 64
)

// Key derivation functions, section 3.2.3.
const (
	kdfPBKDF2   = "pbkdf2"
	kdfArgon2i  = "argon2i"
	kdfArgon2id = "argon2id"
)

type kdf struct {
	Type       string `json:"type"`
	Salt       []byte `json:"salt"`
	Hash       string `json:"hash"`       // of pbkdf2
	Iterations int64  `json:"iterations"` // of pbkdf2
	Time       int64  `json:"time"`       // of argon2, passes
	Memory     int64  `json:"memory"`     // of argon2, KiB
	CPUs       int64  `json:"cpus"`       // of argon2, lanes
}

func (k *kdf) check(slot int) error {
	switch k.Type {
	case kdfPBKDF2:
		if _, ok := sectors.Hashes[k.Hash]; !ok {
			return unsupported("Hash algorithm '%s' not supported", k.Hash)
		}
		if k.Iterations < 1 || k.Iterations > maxIterations {
			return tooMuch("LUKS2 key slot %d asks for %d iterations, not 1 to %d", slot, k.Iterations, maxIterations)
		}
		return nil
	case kdfArgon2i, kdfArgon2id:
		switch {
		case k.Memory < 1 || k.Memory > maxMemory:
			return tooMuch("LUKS2 key slot %d asks for %d KiB of memory, not 1 to %d", slot, k.Memory, maxMemory)
		case k.Time < 1 || k.Time > math.MaxUint32 || k.Time*k.Memory > maxWork:
			return tooMuch("LUKS2 key slot %d asks for %d passes over %d KiB, together more than %d", slot, k.Time, k.Memory, maxWork)
		case k.CPUs < 1 || k.CPUs > maxLanes:
			return tooMuch("LUKS2 key slot %d asks for %d lanes, not 1 to %d", slot, k.CPUs, maxLanes)
		}
		return nil
	}
	return unsupported("LUKS2 key slot %d with key derivation '%s' is not supported", slot, k.Type)
}

// derive makes a key of n bytes.
func (k *kdf) derive(passphrase []byte, n int) ([]byte, error) {
	switch k.Type {
	case kdfArgon2i:
		return argon2.Key(passphrase, k.Salt, uint32(k.Time), uint32(k.Memory), uint8(k.CPUs), uint32(n)), nil
	case kdfArgon2id:
		return argon2.IDKey(passphrase, k.Salt, uint32(k.Time), uint32(k.Memory), uint8(k.CPUs), uint32(n)), nil
	}
	return pbkdf2.Key(sectors.Hashes[k.Hash], string(passphrase), k.Salt, int(k.Iterations), n)
}

// Unlock finds the slot that the passphrase opens, and makes the cipher of the segment. r
// reads the volume from its header on.
func (h *Header) Unlock(ctx context.Context, passphrase []byte, r io.ReaderAt, name string) (*sectors.Cipher, error) {
	for i := range h.slots {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		key, err := h.open(&h.slots[i], passphrase, r)
		if err != nil {
			return nil, inFile(err, name)
		}
		if key != nil {
			return sectors.NewSized(h.Segment.Spec, key, int(h.Segment.SectorSize))
		}
	}
	return nil, blockdev.Errorf(blockdev.ErrDenied, "open", name, "Invalid password, cannot unlock any keyslot")
}

// open returns the volume key, or nil if the passphrase is not this slot's. The sectors of
// an area are of 512 bytes, and numbered from 0.
func (h *Header) open(s *slot, passphrase []byte, r io.ReaderAt) ([]byte, error) {
	k := &s.keyslot
	slotKey, err := k.KDF.derive(passphrase, k.Area.KeySize)
	if err != nil {
		return nil, err
	}
	c, err := sectors.New(s.spec, slotKey)
	if err != nil {
		return nil, err
	}
	n := k.KeySize * k.AF.Stripes
	material := make([]byte, (n+sectors.Size-1)/sectors.Size*sectors.Size)
	if _, err := r.ReadAt(material, k.Area.Offset); err != nil {
		return nil, err
	}
	c.Decrypt(material, 0)
	key := luks1.Merge(material[:n], k.AF.Stripes, sectors.Hashes[k.AF.Hash])
	d := &h.digest
	sum, err := pbkdf2.Key(sectors.Hashes[d.Hash], string(key), d.Salt, int(d.Iterations), len(d.Digest))
	if err != nil || subtle.ConstantTimeCompare(sum, d.Digest) == 0 {
		return nil, err
	}
	return key, nil
}

// Fields are what info tells of the header; QEMU has none of this version, keys are as it
// names those of version 1.
func (h *Header) Fields() []blockdev.InfoField {
	s := h.Segment
	fields := []blockdev.InfoField{
		{Key: "version", Value: int64(version2)},
		{Key: "uuid", Value: h.UUID},
		{Key: "cipher-alg", Value: s.Cipher},
		{Key: "cipher-mode", Value: s.Mode},
		{Key: "ivgen-alg", Value: s.IVGen},
	}
	if s.IVHash != "" {
		fields = append(fields, blockdev.InfoField{Key: "ivgen-hash-alg", Value: s.IVHash})
	}
	var slots []any
	for _, k := range h.slots {
		slots = append(slots, []blockdev.InfoField{
			{Key: "keyslot", Value: int64(k.number)}, {Key: "kdf", Value: k.KDF.Type}, {Key: "key-offset", Value: k.Area.Offset},
		})
	}
	return append(fields,
		blockdev.InfoField{Key: "slots", Value: slots},
		blockdev.InfoField{Key: "sector-size", Value: s.SectorSize},
		blockdev.InfoField{Key: "payload-offset", Value: s.Offset})
}
