package sectors

import (
	"crypto/cipher"
	"crypto/md5"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"golang.org/x/crypto/cast5"     //nolint:staticcheck // volumes of old have it
	"golang.org/x/crypto/ripemd160" //nolint:staticcheck // volumes of old have it
	"golang.org/x/crypto/twofish"   //nolint:staticcheck // volumes of old have it

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/aesblocks"
	"github.com/qmon/qmon/formats/internal/serpent"
)

// Spec names how sectors are encrypted, in QEMU's words.
type Spec struct {
	Cipher string // "aes-256": a cipher and the bits of its key
	Mode   string // "ecb", "cbc", "ctr", "xts"
	IVGen  string // "plain", "plain64", "essiv"
	IVHash string // of essiv, "" otherwise
}

// Hashes are the hash functions by their names: of essiv, and of key slots.
var Hashes = map[string]func() hash.Hash{
	"md5": md5.New, "sha1": sha1.New, "sha224": sha256.New224, "sha256": sha256.New,
	"sha384": sha512.New384, "sha512": sha512.New, "ripemd160": ripemd160.New,
}

// family is a block cipher with its sizes of keys.
type family struct {
	title string // in messages
	block int    // bytes
	keys  []int  // bytes
	make  func(key []byte) (blocks, error)
}

var families = map[string]family{
	"aes":     {"AES", aesblocks.BlockSize, []int{16, 24, 32}, func(key []byte) (blocks, error) { return aesblocks.New(key) }},
	"serpent": {"Serpent", serpent.BlockSize, []int{16, 24, 32}, oneByOne(serpent.New)},
	"twofish": {"Twofish", twofish.BlockSize, []int{16, 24, 32}, oneByOne(func(key []byte) (cipher.Block, error) { return twofish.NewCipher(key) })},
	"cast5":   {"", cast5.BlockSize, []int{16}, oneByOne(func(key []byte) (cipher.Block, error) { return cast5.NewCipher(key) })},
}

// blocks encrypts and decrypts runs of blocks, each alone. dst may be src.
type blocks interface {
	BlockSize() int
	Encrypt(dst, src []byte)
	Decrypt(dst, src []byte)
}

// single makes blocks of a cipher that does one at a time.
type single struct{ cipher.Block }

func oneByOne(newCipher func(key []byte) (cipher.Block, error)) func(key []byte) (blocks, error) {
	return func(key []byte) (blocks, error) {
		b, err := newCipher(key)
		return single{b}, err
	}
}

func (s single) Encrypt(dst, src []byte) { s.each(s.Block.Encrypt, dst, src) }
func (s single) Decrypt(dst, src []byte) { s.each(s.Block.Decrypt, dst, src) }

func (s single) each(crypt func(dst, src []byte), dst, src []byte) {
	for n := s.BlockSize(); len(src) >= n; dst, src = dst[n:], src[n:] {
		crypt(dst[:n], src[:n])
	}
}

const (
	modeECB    = "ecb"
	modeCBC    = "cbc"
	modeCTR    = "ctr"
	modeXTS    = "xts"
	genPlain   = "plain"
	genPlain64 = "plain64"
	// GenESSIV is the only generator with a hash.
	GenESSIV = "essiv"
)

// Family is the name of the cipher, without the size of its key.
func (s Spec) Family() string {
	name, _, _ := strings.Cut(s.Cipher, "-")
	return name
}

// KeyBytes is how long a key is: xts has two. 0 if there is no such cipher.
func (s Spec) KeyBytes() int {
	name, size, _ := strings.Cut(s.Cipher, "-")
	bits, err := strconv.Atoi(size)
	for _, n := range families[name].keys {
		if err == nil && n*8 == bits {
			if s.Mode == modeXTS {
				n *= 2
			}
			return n
		}
	}
	return 0
}

func refuse(kind error, format string, args ...any) error {
	return blockdev.Errorf(kind, "open", "", format, args...)
}

// Of is the spec of a cipher and a mode as dm-crypt and LUKS write them ("aes",
// "cbc-essiv:sha256") with a key of that many bytes.
func Of(cipher, mode string, keyBytes int) (Spec, error) {
	chain, gen, ok := strings.Cut(mode, "-")
	if !ok {
		return Spec{}, refuse(blockdev.ErrCorrupt, "Unexpected cipher mode string format '%s'", mode)
	}
	s := Spec{Mode: chain}
	var ivHash string
	if s.IVGen, ivHash, _ = strings.Cut(gen, ":"); s.IVGen == GenESSIV {
		s.IVHash = ivHash // others have no use for one
	}
	if chain == modeXTS {
		if keyBytes%2 != 0 {
			return Spec{}, refuse(blockdev.ErrCorrupt, "XTS cipher key length should be a multiple of 2")
		}
		keyBytes /= 2
	}
	s.Cipher = fmt.Sprintf("%s-%d", cipher, keyBytes*8)
	if s.KeyBytes() == 0 {
		return Spec{}, refuse(blockdev.ErrNotSupported, "Algorithm '%s' with key size %d bytes not supported", cipher, keyBytes)
	}
	return s, nil
}

// DMCrypt is the reverse of Of.
func (s Spec) DMCrypt() (cipher, mode string) {
	mode = s.Mode + "-" + s.IVGen
	if s.IVHash != "" {
		mode += ":" + s.IVHash
	}
	return s.Family(), mode
}

// Check tells what about s is unknown, in QEMU's words.
func (s Spec) Check() error {
	f, ok := families[s.Family()]
	if !ok || s.KeyBytes() == 0 {
		return refuse(blockdev.ErrNotSupported, "Algorithm '%s' not supported", s.Cipher)
	}
	switch s.Mode {
	case modeECB, modeCBC, modeCTR:
	case modeXTS:
		if f.block != xtsBlock {
			return refuse(blockdev.ErrNotSupported, "Unsupported cipher mode %s", s.Mode)
		}
	default:
		return refuse(blockdev.ErrNotSupported, "Cipher mode '%s' not supported", s.Mode)
	}
	switch s.IVGen {
	case genPlain, genPlain64:
		return nil
	case GenESSIV:
		return s.checkESSIV(f)
	}
	return refuse(blockdev.ErrNotSupported, "IV generator '%s' not supported", s.IVGen)
}

// checkESSIV: the digest is a key of the cipher.
func (s Spec) checkESSIV(f family) error {
	if s.IVHash == "" {
		return refuse(blockdev.ErrNotSupported, "Missing IV generator hash specification")
	}
	newHash, ok := Hashes[s.IVHash]
	if !ok {
		return refuse(blockdev.ErrNotSupported, "Hash algorithm '%s' not supported", s.IVHash)
	}
	size := newHash().Size()
	for _, n := range f.keys {
		switch {
		case f.title == "" && size == 16:
			return nil
		case f.title != "" && n == size:
			return nil
		}
	}
	if f.title == "" {
		return refuse(blockdev.ErrNotSupported, "Cipher %s not supported with essiv", s.Cipher)
	}
	return refuse(blockdev.ErrNotSupported, "No %s cipher with key size %d available", f.title, size)
}
