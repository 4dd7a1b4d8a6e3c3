package luks1

import (
	"context"
	"crypto/pbkdf2"
	"crypto/rand"
	"crypto/subtle"
	"io"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/sectors"
)

// Unlock finds the slot that the passphrase opens. r reads the volume from its header on.
func (h *Header) Unlock(ctx context.Context, passphrase []byte, r io.ReaderAt, name string) (*Volume, error) {
	for i := range h.Slots {
		key, err := h.tryslot(ctx, i, passphrase, r)
		if err != nil {
			return nil, err
		}
		if key != nil {
			return &Volume{Header: h, key: key}, nil
		}
	}
	return nil, blockdev.Errorf(blockdev.ErrDenied, "open", name, "Invalid password, cannot unlock any keyslot")
}

// tryslot returns the master key, or nil if the passphrase is not this slot's.
func (h *Header) tryslot(ctx context.Context, i int, passphrase []byte, r io.ReaderAt) ([]byte, error) {
	s := &h.Slots[i]
	if !s.Active {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c, err := h.slotCipher(s, passphrase)
	if err != nil {
		return nil, err
	}
	material := make([]byte, h.materialBytes())
	if _, err := r.ReadAt(material, s.Offset); err != nil {
		return nil, err
	}
	c.Decrypt(material, 0)
	key := Merge(material[:h.KeySize*stripes], stripes, sectors.Hashes[h.Hash])
	digest, err := h.digestOf(key)
	if err != nil || subtle.ConstantTimeCompare(digest, h.digest[:]) == 0 {
		return nil, err
	}
	return key, nil
}

// slotCipher encrypts the contents of a slot. Its sectors are numbered from 0.
func (h *Header) slotCipher(s *Slot, passphrase []byte) (*sectors.Cipher, error) {
	key, err := pbkdf2.Key(sectors.Hashes[h.Hash], string(passphrase), s.salt[:], int(s.Iterations), h.KeySize)
	if err != nil {
		return nil, err
	}
	return sectors.New(h.Spec, key)
}

// digestOf is the master key's digest, by which it is known.
func (h *Header) digestOf(key []byte) ([]byte, error) {
	return pbkdf2.Key(sectors.Hashes[h.Hash], string(key), h.salt[:], int(h.Iterations), digestBytes)
}

// fill prepares slot i for the master key under a passphrase, and returns what is to be
// written at the slot's offset before it is made active.
func (h *Header) fill(i int, key, passphrase []byte, iterations uint32) ([]byte, error) {
	s := &h.Slots[i]
	_, _ = rand.Read(s.salt[:]) // it never fails
	s.Iterations = iterations
	c, err := h.slotCipher(s, passphrase)
	if err != nil {
		return nil, err
	}
	material := make([]byte, h.materialBytes())
	copy(material, split(key, stripes, sectors.Hashes[h.Hash]))
	c.Encrypt(material, 0)
	return material, nil
}
