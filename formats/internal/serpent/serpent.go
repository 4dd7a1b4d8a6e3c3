// Package serpent is the block cipher of Anderson, Biham and Knudsen, "Serpent: A Proposal
// for the Advanced Encryption Standard", 1998: 32 rounds on four words, each of a key, one
// of eight S-boxes of four bits, done for 32 places at once, and a linear transformation.
package serpent

import (
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/bits"
)

const (
	// BlockSize in bytes.
	BlockSize = 16
	rounds    = 32
	phi       = 0x9e3779b9 // of the key schedule: a fraction of the golden ratio
)

// mix is the linear transformation.
func mix(x *[4]uint32) {
	x[0] = bits.RotateLeft32(x[0], 13)
	x[2] = bits.RotateLeft32(x[2], 3)
	x[1] = bits.RotateLeft32(x[1]^x[0]^x[2], 1)
	x[3] = bits.RotateLeft32(x[3]^x[2]^x[0]<<3, 7)
	x[0] = bits.RotateLeft32(x[0]^x[1]^x[3], 5)
	x[2] = bits.RotateLeft32(x[2]^x[3]^x[1]<<7, 22)
}

func unmix(x *[4]uint32) {
	x[2] = bits.RotateLeft32(x[2], -22) ^ x[3] ^ x[1]<<7
	x[0] = bits.RotateLeft32(x[0], -5) ^ x[1] ^ x[3]
	x[3] = bits.RotateLeft32(x[3], -7) ^ x[2] ^ x[0]<<3
	x[1] = bits.RotateLeft32(x[1], -1) ^ x[0] ^ x[2]
	x[2] = bits.RotateLeft32(x[2], -3)
	x[0] = bits.RotateLeft32(x[0], -13)
}

// block holds the round keys.
type block [rounds + 1][4]uint32

// New makes a cipher of a key of 16, 24 or 32 bytes.
func New(key []byte) (cipher.Block, error) {
	switch len(key) {
	case 16, 24, 32:
	default:
		return nil, fmt.Errorf("serpent: a key of %d bytes", len(key))
	}
	// Short keys are made long: one bit, then none.
	var long [32]byte
	if copy(long[:], key); len(key) < len(long) {
		long[len(key)] = 1
	}
	var w [8 + 4*(rounds+1)]uint32
	for i := range 8 {
		w[i] = binary.LittleEndian.Uint32(long[4*i:])
	}
	for i := 8; i < len(w); i++ {
		w[i] = bits.RotateLeft32(w[i-8]^w[i-5]^w[i-3]^w[i-1]^phi^uint32(i-8), 11)
	}
	b := &block{}
	for i := range b {
		copy(b[i][:], w[8+4*i:])
		forward[(3-i+40)%8](&b[i])
	}
	return b, nil
}

func (b *block) BlockSize() int { return BlockSize }

func (b *block) add(i int, x *[4]uint32) {
	for j := range x {
		x[j] ^= b[i][j]
	}
}

func (b *block) Encrypt(dst, src []byte) {
	x := load(src)
	for i := range rounds - 1 {
		b.add(i, &x)
		forward[i%8](&x)
		mix(&x)
	}
	b.add(rounds-1, &x)
	forward[(rounds-1)%8](&x)
	b.add(rounds, &x)
	store(dst, &x)
}

func (b *block) Decrypt(dst, src []byte) {
	x := load(src)
	b.add(rounds, &x)
	backward[(rounds-1)%8](&x)
	b.add(rounds-1, &x)
	for i := rounds - 2; i >= 0; i-- {
		unmix(&x)
		backward[i%8](&x)
		b.add(i, &x)
	}
	store(dst, &x)
}

func load(b []byte) (x [4]uint32) {
	_ = b[BlockSize-1]
	for i := range x {
		x[i] = binary.LittleEndian.Uint32(b[4*i:])
	}
	return x
}

func store(b []byte, x *[4]uint32) {
	_ = b[BlockSize-1]
	for i, v := range x {
		binary.LittleEndian.PutUint32(b[4*i:], v)
	}
}
