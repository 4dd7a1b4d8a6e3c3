package aesblocks

import (
	"bytes"
	"crypto/aes"
	"fmt"
	"math/rand/v2"
	"testing"
)

// TestAsTheStandardLibrary compares every number of blocks around the eight that are done
// at once, with the instructions and without, in place and not.
func TestAsTheStandardLibrary(t *testing.T) {
	random := rand.NewChaCha8([32]byte{1})
	for _, size := range []int{16, 24, 32} {
		for _, instructions := range []bool{false, hardware} {
			key := make([]byte, size)
			_, _ = random.Read(key)
			b, err := aes.NewCipher(key)
			if err != nil {
				t.Fatal(err)
			}
			c, err := newCipher(key, instructions)
			if err != nil {
				t.Fatal(err)
			}
			for n := range 35 {
				plain := make([]byte, n*BlockSize)
				_, _ = random.Read(plain)
				want := make([]byte, len(plain))
				each(b.Encrypt, want, plain)
				// What is behind the blocks must stay.
				got := append(make([]byte, len(plain)), "end"...)
				c.Encrypt(got[:len(plain)], plain)
				if !bytes.Equal(got, append(want, "end"...)) {
					t.Fatalf("AES-%d, instructions %v: %d blocks are encrypted wrongly", size*8, instructions, n)
				}
				c.Decrypt(got[:len(plain)], got[:len(plain)])
				if !bytes.Equal(got, append(plain, "end"...)) {
					t.Fatalf("AES-%d, instructions %v: %d blocks are decrypted wrongly", size*8, instructions, n)
				}
			}
		}
	}
}

func TestKeySizes(t *testing.T) {
	for _, size := range []int{0, 8, 33} {
		if _, err := New(make([]byte, size)); err == nil {
			t.Errorf("a key of %d bytes is taken", size)
		}
	}
}

func Benchmark(b *testing.B) {
	p := make([]byte, 4096)
	for _, size := range []int{16, 32} {
		for _, instructions := range []bool{true, false} {
			c, _ := newCipher(make([]byte, size), instructions && hardware)
			for name, f := range map[string]func(dst, src []byte){"encrypt": c.Encrypt, "decrypt": c.Decrypt} {
				b.Run(fmt.Sprintf("AES-%d/instructions=%v/%s", size*8, instructions, name), func(b *testing.B) {
					b.SetBytes(int64(len(p)))
					for b.Loop() {
						f(p, p)
					}
				})
			}
		}
	}
}
