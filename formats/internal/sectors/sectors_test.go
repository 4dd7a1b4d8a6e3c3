package sectors

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/crypto/cast5"   //nolint:staticcheck // volumes of old have it
	"golang.org/x/crypto/twofish" //nolint:staticcheck // volumes of old have it
	xcrypto "golang.org/x/crypto/xts"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/serpent"
)

var makers = map[string]func(key []byte) (cipher.Block, error){
	"aes": aes.NewCipher, "serpent": serpent.New,
	"twofish": func(key []byte) (cipher.Block, error) { return twofish.NewCipher(key) },
	"cast5":   func(key []byte) (cipher.Block, error) { return cast5.NewCipher(key) },
}

// reference encrypts one sector by the book: golang.org/x/crypto/xts, and crypto/cipher.
func reference(t *testing.T, s Spec, key, p []byte, number uint64) {
	t.Helper()
	newCipher := makers[s.Family()]
	if s.Mode == "xts" {
		c, err := xcrypto.NewCipher(newCipher, key)
		if err != nil {
			t.Fatal(err)
		}
		c.Encrypt(p, p, number)
		return
	}
	b, err := newCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	iv := make([]byte, b.BlockSize())
	switch s.IVGen {
	case "plain":
		binary.LittleEndian.PutUint32(iv, uint32(number))
	default:
		binary.LittleEndian.PutUint64(iv, number)
	}
	if s.IVGen == "essiv" {
		h := Hashes[s.IVHash]()
		_, _ = h.Write(key)
		e, err := newCipher(h.Sum(nil))
		if err != nil {
			t.Fatal(err)
		}
		e.Encrypt(iv, iv)
	}
	switch s.Mode {
	case "cbc":
		cipher.NewCBCEncrypter(b, iv).CryptBlocks(p, p)
	case "ctr":
		cipher.NewCTR(b, iv).XORKeyStream(p, p)
	default:
		for ; len(p) > 0; p = p[len(iv):] {
			b.Encrypt(p, p)
		}
	}
}

var specs = []Spec{
	{"aes-128", "xts", "plain64", ""}, {"aes-192", "xts", "plain64", ""}, {"aes-256", "xts", "plain64", ""},
	{"aes-128", "cbc", "plain64", ""}, {"aes-256", "cbc", "essiv", "sha256"}, {"aes-192", "cbc", "plain", ""},
	{"aes-256", "ecb", "plain", ""}, {"aes-128", "ctr", "plain64", ""},
	{"serpent-128", "xts", "plain64", ""}, {"serpent-256", "cbc", "essiv", "md5"}, {"serpent-192", "ctr", "plain64", ""},
	{"twofish-256", "xts", "plain64", ""}, {"twofish-192", "cbc", "plain", ""},
	{"cast5-128", "cbc", "essiv", "md5"}, {"cast5-128", "ctr", "plain64", ""}, {"cast5-128", "ecb", "plain", ""},
}

func TestByTheBook(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, s := range specs {
		for _, size := range []int{512, 1024, 4096} {
			key := make([]byte, s.KeyBytes())
			_, _ = random.Read(key)
			c, err := NewSized(s, key, size)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range []int{1, 2, 7, 8, 9, 21} {
				plain := make([]byte, n*size)
				_, _ = random.Read(plain)
				first := uint64(1<<32 - 8) // plain counts from 0 again behind it
				want := bytes.Clone(plain)
				for i := range n {
					reference(t, s, key, want[i*size:(i+1)*size], first+uint64(i*size/Size))
				}
				got := bytes.Clone(plain)
				c.Encrypt(got, first)
				if !bytes.Equal(got, want) {
					t.Fatalf("%v: %d sectors of %d bytes are encrypted wrongly", s, n, size)
				}
				if c.Decrypt(got, first); !bytes.Equal(got, plain) {
					t.Fatalf("%v: %d sectors of %d bytes are decrypted wrongly", s, n, size)
				}
			}
		}
	}
}

func TestRefused(t *testing.T) {
	for s, want := range map[Spec]string{
		{"des-64", "cbc", "plain", ""}:           "Algorithm 'des-64' not supported",
		{"aes-100", "cbc", "plain", ""}:          "Algorithm 'aes-100' not supported",
		{"aes-128", "lrw", "plain", ""}:          "Cipher mode 'lrw' not supported",
		{"aes-128", "cbc", "benbi", ""}:          "IV generator 'benbi' not supported",
		{"cast5-128", "xts", "plain", ""}:        "Unsupported cipher mode xts",
		{"aes-128", "cbc", "essiv", ""}:          "Missing IV generator hash specification",
		{"aes-128", "cbc", "essiv", "foo"}:       "Hash algorithm 'foo' not supported",
		{"aes-128", "cbc", "essiv", "sha1"}:      "No AES cipher with key size 20 available",
		{"serpent-128", "cbc", "essiv", "sha1"}:  "No Serpent cipher with key size 20 available",
		{"cast5-128", "cbc", "essiv", "sha256"}:  "Cipher cast5-128 not supported with essiv",
		{"twofish-128", "cbc", "essiv", "sha64"}: "Hash algorithm 'sha64' not supported",
	} {
		if _, err := New(s, make([]byte, s.KeyBytes())); blockdev.Message(err) != want {
			t.Errorf("%v: %v, want %s", s, err, want)
		}
	}
	if _, err := New(specs[0], make([]byte, 16)); err == nil {
		t.Error("half a key is taken")
	}
}

func Benchmark(b *testing.B) {
	p := make([]byte, 64<<10)
	for _, s := range []Spec{specs[0], specs[2], specs[3], specs[4], specs[9], specs[11], specs[14]} {
		c, err := New(s, make([]byte, s.KeyBytes()))
		if err != nil {
			b.Fatal(err)
		}
		for name, f := range map[string]func([]byte, uint64){"encrypt": c.Encrypt, "decrypt": c.Decrypt} {
			b.Run(fmt.Sprintf("%s-%s-%s/%s", s.Cipher, s.Mode, s.IVGen, name), func(b *testing.B) {
				b.SetBytes(int64(len(p)))
				for b.Loop() {
					f(p, 0)
				}
			})
		}
	}
	b.Run("x-crypto-xts/encrypt", func(b *testing.B) {
		c, _ := xcrypto.NewCipher(aes.NewCipher, make([]byte, 64))
		b.SetBytes(int64(len(p)))
		for b.Loop() {
			for at := 0; at < len(p); at += Size {
				c.Encrypt(p[at:at+Size], p[at:at+Size], uint64(at/Size))
			}
		}
	})
}
