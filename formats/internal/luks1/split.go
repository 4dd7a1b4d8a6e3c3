package luks1

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/binary"
	"hash"
)

// Section 2.4, "Anti-forensic splitting": the key is the last stripe, changed by all the
// others, each of which goes through a diffusion.

// split spreads key over stripes of its length, all but the last one random.
func split(key []byte, stripes int, newHash func() hash.Hash) []byte {
	n := len(key)
	out := make([]byte, n*stripes)
	_, _ = rand.Read(out[:n*(stripes-1)]) // it never fails
	d := make([]byte, n)
	for i := range stripes - 1 {
		subtle.XORBytes(d, d, out[i*n:(i+1)*n])
		diffuse(d, newHash())
	}
	subtle.XORBytes(out[n*(stripes-1):], d, key)
	return out
}

// Merge is the reverse: the key, of stripes that it was spread over. LUKS2 has the same.
func Merge(material []byte, stripes int, newHash func() hash.Hash) []byte {
	n := len(material) / stripes
	d := make([]byte, n)
	for i := range stripes - 1 {
		subtle.XORBytes(d, d, material[i*n:(i+1)*n])
		diffuse(d, newHash())
	}
	subtle.XORBytes(d, d, material[n*(stripes-1):])
	return d
}

// diffuse replaces each piece of d, as long as a hash, by the hash of its number and itself.
func diffuse(d []byte, h hash.Hash) {
	size := h.Size()
	for i := 0; i*size < len(d); i++ {
		piece := d[i*size : min((i+1)*size, len(d))]
		h.Reset()
		_ = binary.Write(h, binary.BigEndian, uint32(i)) // a hash takes everything
		_, _ = h.Write(piece)
		copy(piece, h.Sum(nil))
	}
}
