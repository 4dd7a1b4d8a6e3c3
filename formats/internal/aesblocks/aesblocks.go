// Package aesblocks is AES over many blocks at once, each alone, as the modes that disks
// are encrypted with need it: XTS, and decryption in CBC. The processor works on eight
// blocks side by side, which crypto/aes does not offer, and which is several times faster
// than one after the other.
//
// With AES instructions (amd64, arm64) the rounds are a few lines of assembly; elsewhere it
// is crypto/aes, block by block.
package aesblocks

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"math/bits"
)

// BlockSize of AES, bytes.
const BlockSize = aes.BlockSize

const (
	maxRounds = 14
	// maxWords is how many 32-bit words the largest key expands to.
	maxWords = 4 * (maxRounds + 1)
)

// schedule is an expanded key, FIPS 197 section 5.2, as it lies in memory.
type schedule [maxWords]uint32

// Cipher encrypts and decrypts runs of blocks. It is safe for concurrent use.
type Cipher struct {
	block    cipher.Block // does the work where there are no instructions for it
	rounds   int
	enc, dec schedule
}

// New makes a cipher of a key of 16, 24 or 32 bytes.
func New(key []byte) (*Cipher, error) { return newCipher(key, hardware) }

func newCipher(key []byte, hardware bool) (*Cipher, error) {
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	c := &Cipher{block: b}
	if hardware {
		c.rounds = len(key)/4 + 6
		c.expand(key)
	}
	return c, nil
}

// BlockSize is that of AES.
func (c *Cipher) BlockSize() int { return BlockSize }

// Encrypt encrypts the whole blocks of src to dst, which is as long, and may be src.
func (c *Cipher) Encrypt(dst, src []byte) {
	switch n := len(src) / BlockSize; {
	case n == 0:
	case c.rounds == 0:
		each(c.block.Encrypt, dst, src)
	default:
		encryptBlocks(&c.enc, c.rounds, &dst[:n*BlockSize][0], &src[0], n)
	}
}

// Decrypt is the reverse.
func (c *Cipher) Decrypt(dst, src []byte) {
	switch n := len(src) / BlockSize; {
	case n == 0:
	case c.rounds == 0:
		each(c.block.Decrypt, dst, src)
	default:
		decryptBlocks(&c.dec, c.rounds, &dst[:n*BlockSize][0], &src[0], n)
	}
}

func each(crypt func(dst, src []byte), dst, src []byte) {
	for at := 0; at+BlockSize <= len(src); at += BlockSize {
		crypt(dst[at:at+BlockSize], src[at:at+BlockSize])
	}
}

// expand is KeyExpansion of FIPS 197, section 5.2. Words are in the order of their bytes
// in memory, so what the standard rotates to the left is rotated to the right here.
func (c *Cipher) expand(key []byte) {
	nk, n := len(key)/4, 4*(c.rounds+1)
	for i := range nk {
		c.enc[i] = binary.LittleEndian.Uint32(key[4*i:])
	}
	rcon := uint32(1)
	for i := nk; i < n; i++ {
		w := c.enc[i-1]
		switch {
		case i%nk == 0:
			w = bits.RotateLeft32(subWord(w), -8) ^ rcon
			rcon = rcon<<1 ^ rcon>>7*0x11b // multiplied by x
		case nk > 6 && i%nk == 4:
			w = subWord(w)
		}
		c.enc[i] = c.enc[i-nk] ^ w
	}
	// The equivalent inverse cipher, section 5.3.5: round keys in reverse order, those in
	// between with their columns mixed back.
	for r := range c.rounds + 1 {
		from, to := c.enc[4*(c.rounds-r):][:4], c.dec[4*r:][:4]
		copy(to, from)
		if r > 0 && r < c.rounds {
			unmixColumns(&to[0])
		}
	}
}
