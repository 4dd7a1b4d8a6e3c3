package sectors

import (
	"crypto/subtle"
	"encoding/binary"
)

// xtsBlock is the only size of blocks that the mode is defined for, bytes.
const xtsBlock = 16

// xts is the mode of IEEE 1619: each block is XORed with a tweak before and after, and the
// tweaks of a sector are powers of x in GF(2^128) times its encrypted initial vector.
type xts struct{ data, tweak blocks }

// tweaks fills t, as long as a sector, from the encrypted initial vector.
func tweaks(t, first []byte) {
	lo, hi := binary.LittleEndian.Uint64(first), binary.LittleEndian.Uint64(first[8:])
	for ; len(t) >= xtsBlock; t = t[xtsBlock:] {
		binary.LittleEndian.PutUint64(t, lo)
		binary.LittleEndian.PutUint64(t[8:], hi)
		carry := hi >> 63
		hi = hi<<1 | lo>>63
		lo = lo<<1 ^ carry*0x87
	}
}

// crypt works in place. The XORs, and the cipher, are done for all blocks of a sector at
// once, which the processor does many times faster than block by block.
func (x xts) crypt(p []byte, size int, ivs []byte, crypt func(dst, src []byte)) {
	var buf [MaxSize]byte
	t := buf[:size]
	x.tweak.Encrypt(ivs, ivs)
	for ; len(p) > 0; p, ivs = p[size:], ivs[xtsBlock:] {
		tweaks(t, ivs)
		s := p[:size]
		subtle.XORBytes(s, s, t)
		crypt(s, s)
		subtle.XORBytes(s, s, t)
	}
}

func (x xts) encrypt(p []byte, size int, ivs []byte) { x.crypt(p, size, ivs, x.data.Encrypt) }
func (x xts) decrypt(p []byte, size int, ivs []byte) { x.crypt(p, size, ivs, x.data.Decrypt) }
