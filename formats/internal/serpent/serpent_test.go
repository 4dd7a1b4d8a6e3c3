package serpent

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// sboxes are S0 to S7, "The S-boxes" in the proposal's appendix.
var sboxes = [8][16]byte{
	{3, 8, 15, 1, 10, 6, 5, 11, 14, 13, 4, 2, 7, 0, 9, 12},
	{15, 12, 2, 7, 9, 0, 5, 10, 1, 11, 14, 8, 6, 13, 3, 4},
	{8, 6, 7, 9, 3, 12, 10, 15, 13, 1, 14, 4, 0, 11, 5, 2},
	{0, 15, 11, 8, 12, 9, 6, 3, 13, 1, 2, 4, 10, 7, 5, 14},
	{1, 15, 8, 3, 12, 0, 11, 6, 2, 5, 4, 10, 9, 14, 7, 13},
	{15, 5, 2, 11, 4, 10, 9, 12, 0, 3, 14, 8, 13, 6, 7, 1},
	{7, 2, 12, 5, 8, 4, 6, 11, 14, 9, 1, 15, 13, 3, 10, 0},
	{1, 13, 15, 0, 14, 8, 2, 11, 7, 4, 12, 10, 9, 3, 5, 6},
}

func TestSBoxes(t *testing.T) {
	for i, table := range sboxes {
		for v, want := range table {
			x := [4]uint32{uint32(v) & 1, uint32(v) >> 1 & 1, uint32(v) >> 2 & 1, uint32(v) >> 3}
			forward[i](&x)
			if got := x[0]&1 | x[1]&1<<1 | x[2]&1<<2 | x[3]&1<<3; got != uint32(want) {
				t.Errorf("S%d of %d is %d, want %d", i, v, got, want)
			}
			backward[i](&x)
			if got := x[0]&1 | x[1]&1<<1 | x[2]&1<<2 | x[3]&1<<3; got != uint32(v) {
				t.Errorf("the inverse of S%d of %d is %d, want %d", i, want, got, v)
			}
		}
	}
}

// TestVectors are of the NESSIE project's test vectors for Serpent, set 1.
func TestVectors(t *testing.T) {
	for _, v := range []struct{ key, plain, secret string }{
		{"80000000000000000000000000000000", "00000000000000000000000000000000", "264e5481eff42a4606abda06c0bfda3d"},
		{"800000000000000000000000000000000000000000000000", "00000000000000000000000000000000", "9e274ead9b737bb21efcfca548602689"},
		{"8000000000000000000000000000000000000000000000000000000000000000", "00000000000000000000000000000000", "a223aa1288463c0e2be38ebd825616c0"},
	} {
		key, _ := hex.DecodeString(v.key)
		plain, _ := hex.DecodeString(v.plain)
		b, err := New(key)
		if err != nil {
			t.Fatal(err)
		}
		got := make([]byte, BlockSize)
		b.Encrypt(got, plain)
		if hex.EncodeToString(got) != v.secret {
			t.Errorf("key of %d bytes: %x, want %s", len(key), got, v.secret)
		}
		b.Decrypt(got, got)
		if !bytes.Equal(got, plain) {
			t.Errorf("key of %d bytes: decrypted to %x", len(key), got)
		}
	}
}

func TestKeySizes(t *testing.T) {
	for _, n := range []int{0, 8, 33} {
		if _, err := New(make([]byte, n)); err == nil {
			t.Errorf("a key of %d bytes is taken", n)
		}
	}
}

func BenchmarkEncrypt(b *testing.B) {
	c, _ := New(make([]byte, 32))
	p := make([]byte, BlockSize)
	b.SetBytes(BlockSize)
	for b.Loop() {
		c.Encrypt(p, p)
	}
}
