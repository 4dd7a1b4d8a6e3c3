package luks1

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
)

// SectorSize is the unit of encryption, in bytes.
const SectorSize = 512

// Spec names how sectors are encrypted, in QEMU's words.
type Spec struct {
	Cipher  string // "aes-128", "aes-192", "aes-256"
	Mode    string // "ecb", "cbc", "ctr", "xts"
	IVGen   string // "plain", "plain64", "essiv"
	IVHash  string // of essiv, "" otherwise
	KeySize int    // of the master key, bytes
}

// hashes are those of key slots, and of essiv.
var hashes = map[string]func() hash.Hash{
	"sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New, "sha384": sha512.New384, "sha512": sha512.New,
}

// aesKeys are the key sizes, bytes.
var aesKeys = map[string]int{"aes-128": 16, "aes-192": 24, "aes-256": 32}

// keyBytes is how long a key of the spec is: xts has two.
func (s Spec) keyBytes() int {
	if s.Mode == modeXTS {
		return 2 * aesKeys[s.Cipher]
	}
	return aesKeys[s.Cipher]
}

const (
	modeECB    = "ecb"
	modeCBC    = "cbc"
	modeCTR    = "ctr"
	modeXTS    = "xts"
	genPlain   = "plain"
	genPlain64 = "plain64"
	genESSIV   = "essiv"
)

// mode encrypts and decrypts one sector in place.
type mode interface {
	encrypt(sector, iv []byte)
	decrypt(sector, iv []byte)
}

// Cipher encrypts and decrypts sectors. It is safe for concurrent use.
type Cipher struct {
	mode mode
	iv   func(iv []byte, sector uint64)
}

// NewCipher makes the cipher of a spec with a key.
func NewCipher(s Spec, key []byte) (*Cipher, error) {
	if len(key) != s.keyBytes() {
		return nil, fmt.Errorf("key of %d bytes for %s in mode %s", len(key), s.Cipher, s.Mode)
	}
	c := &Cipher{}
	var err error
	if c.mode, err = newMode(s.Mode, key); err != nil {
		return nil, err
	}
	c.iv, err = newIVGen(s, key)
	return c, err
}

func newMode(name string, key []byte) (mode, error) {
	if name == modeXTS {
		data, err := aes.NewCipher(key[:len(key)/2])
		if err != nil {
			return nil, err
		}
		tweak, err := aes.NewCipher(key[len(key)/2:])
		return xts{data, tweak}, err
	}
	b, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	switch name {
	case modeECB:
		return ecb{b}, nil
	case modeCBC:
		return cbc{b}, nil
	case modeCTR:
		return ctr{b}, nil
	}
	return nil, fmt.Errorf("unknown cipher mode %q", name)
}

// newIVGen makes the generator of initial vectors, which are cleared when it is called.
func newIVGen(s Spec, key []byte) (func(iv []byte, sector uint64), error) {
	switch s.IVGen {
	case genPlain:
		return func(iv []byte, sector uint64) { binary.LittleEndian.PutUint32(iv, uint32(sector)) }, nil
	case genPlain64:
		return binary.LittleEndian.PutUint64, nil
	case genESSIV:
	default:
		return nil, fmt.Errorf("unknown IV generator %q", s.IVGen)
	}
	newHash, ok := hashes[s.IVHash]
	if !ok {
		return nil, fmt.Errorf("unknown hash %q", s.IVHash)
	}
	h := newHash()
	_, _ = h.Write(key) // a hash takes everything
	b, err := aes.NewCipher(h.Sum(nil))
	if err != nil {
		return nil, errors.New("no cipher has keys as long as " + s.IVHash)
	}
	return func(iv []byte, sector uint64) {
		binary.LittleEndian.PutUint64(iv, sector)
		b.Encrypt(iv, iv)
	}, nil
}

// Encrypt works in place on whole sectors, the first of which has that number.
func (c *Cipher) Encrypt(p []byte, sector uint64) { c.each(p, sector, c.mode.encrypt) }

// Decrypt is the reverse.
func (c *Cipher) Decrypt(p []byte, sector uint64) { c.each(p, sector, c.mode.decrypt) }

func (c *Cipher) each(p []byte, sector uint64, crypt func(sector, iv []byte)) {
	var iv [blockBytes]byte
	for ; len(p) > 0; p = p[SectorSize:] {
		clear(iv[:])
		c.iv(iv[:], sector)
		crypt(p[:SectorSize], iv[:])
		sector++
	}
}

// ecb encrypts each block alone: it is there because QEMU has it, not to be used.
type ecb struct{ b cipher.Block }

func (m ecb) encrypt(sector, _ []byte) {
	for ; len(sector) > 0; sector = sector[blockBytes:] {
		m.b.Encrypt(sector, sector)
	}
}

func (m ecb) decrypt(sector, _ []byte) {
	for ; len(sector) > 0; sector = sector[blockBytes:] {
		m.b.Decrypt(sector, sector)
	}
}

type cbc struct{ b cipher.Block }

func (m cbc) encrypt(sector, iv []byte) { cipher.NewCBCEncrypter(m.b, iv).CryptBlocks(sector, sector) }
func (m cbc) decrypt(sector, iv []byte) { cipher.NewCBCDecrypter(m.b, iv).CryptBlocks(sector, sector) }

type ctr struct{ b cipher.Block }

func (m ctr) encrypt(sector, iv []byte) { cipher.NewCTR(m.b, iv).XORKeyStream(sector, sector) }
func (m ctr) decrypt(sector, iv []byte) { m.encrypt(sector, iv) }
