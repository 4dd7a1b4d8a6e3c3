package sectors

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/subtle"
)

func newMode(s Spec, key []byte) (mode, error) {
	newBlocks := families[s.Family()].make
	if s.Mode == modeXTS {
		data, err := newBlocks(key[:len(key)/2])
		if err != nil {
			return nil, err
		}
		tweak, err := newBlocks(key[len(key)/2:])
		return xts{data, tweak}, err
	}
	b, err := newBlocks(key)
	if err != nil {
		return nil, err
	}
	switch {
	case s.Mode == modeECB:
		return ecb{b}, nil
	case s.Mode == modeCBC:
		return cbc{b}, nil
	case s.Family() == "aes":
		// The standard library has this one for many blocks at once.
		block, err := aes.NewCipher(key)
		return ctr{block}, err
	}
	return ctr{b}, nil
}

// ecb encrypts each block alone: it is there because QEMU has it, not to be used.
type ecb struct{ b blocks }

func (m ecb) encrypt(p []byte, _ int, _ []byte) { m.b.Encrypt(p, p) }
func (m ecb) decrypt(p []byte, _ int, _ []byte) { m.b.Decrypt(p, p) }

// cbc: each block is XORed with the one before it, encrypted.
type cbc struct{ b blocks }

// encrypt does a block of each sector at a time, as blocks of one sector have to wait for
// each other.
func (m cbc) encrypt(p []byte, size int, ivs []byte) {
	block := m.b.BlockSize()
	var buf [lanes * maxBlock]byte
	chain := buf[:len(ivs)]
	copy(chain, ivs)
	for at := 0; at < size; at += block {
		for i := 0; i < len(chain); i += block {
			s := p[i/block*size+at:]
			subtle.XORBytes(chain[i:i+block], chain[i:i+block], s[:block])
		}
		m.b.Encrypt(chain, chain)
		for i := 0; i < len(chain); i += block {
			copy(p[i/block*size+at:][:block], chain[i:])
		}
	}
}

func (m cbc) decrypt(p []byte, size int, ivs []byte) {
	block := m.b.BlockSize()
	var before [MaxSize]byte // the sector as it was, one block later
	for ; len(p) > 0; p, ivs = p[size:], ivs[block:] {
		copy(before[:], ivs[:block])
		copy(before[block:size], p)
		m.b.Decrypt(p[:size], p[:size])
		subtle.XORBytes(p[:size], p[:size], before[:size])
	}
}

// ctr encrypts a counter that begins with the initial vector.
type ctr struct{ b cipher.Block }

func (m ctr) encrypt(p []byte, size int, ivs []byte) {
	block := m.b.BlockSize()
	for ; len(p) > 0; p, ivs = p[size:], ivs[block:] {
		cipher.NewCTR(m.b, ivs[:block]).XORKeyStream(p[:size], p[:size])
	}
}

func (m ctr) decrypt(p []byte, size int, ivs []byte) { m.encrypt(p, size, ivs) }
