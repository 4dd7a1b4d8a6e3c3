package sectors

import (
	"encoding/binary"
	"fmt"
)

const (
	// Size is what initial vectors count, bytes, whatever the size of the sectors.
	Size = 512
	// MaxSize is that of the largest sectors, bytes.
	MaxSize = 4096
	// lanes is how many sectors are encrypted side by side.
	lanes = 8
	// maxBlock is the largest block of a cipher, bytes.
	maxBlock = 16
)

// Cipher encrypts and decrypts sectors. It is safe for concurrent use.
type Cipher struct {
	mode  mode
	block int // bytes; also of an initial vector
	size  int // of a sector
	gen   generator
}

// mode works in place on up to lanes sectors, with their initial vectors, which it may
// overwrite, one behind the other.
type mode interface {
	encrypt(p []byte, size int, ivs []byte)
	decrypt(p []byte, size int, ivs []byte)
}

// generator fills an initial vector that holds zeroes.
type generator func(iv []byte, sector uint64)

// New makes the cipher of a spec with a key, for sectors of Size bytes.
func New(s Spec, key []byte) (*Cipher, error) { return NewSized(s, key, Size) }

// NewSized is New for sectors of another size: a power of two from Size to MaxSize.
func NewSized(s Spec, key []byte, size int) (*Cipher, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if len(key) != s.KeyBytes() {
		return nil, fmt.Errorf("key of %d bytes for %s in mode %s", len(key), s.Cipher, s.Mode)
	}
	c := &Cipher{block: families[s.Family()].block, size: size}
	var err error
	if c.mode, err = newMode(s, key); err != nil {
		return nil, err
	}
	c.gen, err = newGenerator(s, key)
	return c, err
}

// newGenerator makes the generator of initial vectors. A vector of 8 bytes has room for
// the number and no more.
func newGenerator(s Spec, key []byte) (generator, error) {
	switch s.IVGen {
	case genPlain:
		return func(iv []byte, sector uint64) { binary.LittleEndian.PutUint32(iv, uint32(sector)) }, nil
	case genPlain64:
		return binary.LittleEndian.PutUint64, nil
	}
	h := Hashes[s.IVHash]()
	_, _ = h.Write(key) // a hash takes everything
	b, err := families[s.Family()].make(h.Sum(nil))
	if err != nil {
		return nil, err
	}
	return func(iv []byte, sector uint64) {
		binary.LittleEndian.PutUint64(iv, sector)
		b.Encrypt(iv, iv)
	}, nil
}

// Encrypt works in place on whole sectors. number is the first one's, which counts units
// of Size.
func (c *Cipher) Encrypt(p []byte, number uint64) { c.each(p, number, c.mode.encrypt) }

// Decrypt is the reverse.
func (c *Cipher) Decrypt(p []byte, number uint64) { c.each(p, number, c.mode.decrypt) }

func (c *Cipher) each(p []byte, number uint64, crypt func(p []byte, size int, ivs []byte)) {
	var buf [lanes * maxBlock]byte
	for len(p) > 0 {
		n := min(lanes, len(p)/c.size)
		ivs := buf[:n*c.block]
		clear(ivs)
		for i := range n {
			c.gen(ivs[i*c.block:(i+1)*c.block], number)
			number += uint64(c.size / Size)
		}
		crypt(p[:n*c.size], c.size, ivs)
		p = p[n*c.size:]
	}
}

// NewPasswordAES is the cipher of the encryption that qcow and qcow2 had before LUKS: the
// key is the password itself, cut or filled with zeroes to 16 bytes.
func NewPasswordAES(password []byte) (*Cipher, error) {
	var key [16]byte
	copy(key[:], password)
	return New(Spec{Cipher: "aes-128", Mode: modeCBC, IVGen: genPlain64}, key[:])
}
