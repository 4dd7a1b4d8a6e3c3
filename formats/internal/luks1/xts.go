package luks1

import (
	"crypto/cipher"
	"crypto/subtle"
	"encoding/binary"
)

const blockBytes = 16 // of AES

// xts is the mode of IEEE 1619: each block is XORed with a tweak before and after, and the
// tweaks of a sector are powers of x in GF(2^128) times its encrypted initial vector.
type xts struct{ data, tweak cipher.Block }

// tweaks fills t, as long as a sector, from its initial vector.
func (x xts) tweaks(t, iv []byte) {
	x.tweak.Encrypt(t[:blockBytes], iv)
	lo, hi := binary.LittleEndian.Uint64(t), binary.LittleEndian.Uint64(t[8:])
	for at := blockBytes; at < len(t); at += blockBytes {
		carry := hi >> 63
		hi = hi<<1 | lo>>63
		lo = lo<<1 ^ carry*0x87
		binary.LittleEndian.PutUint64(t[at:], lo)
		binary.LittleEndian.PutUint64(t[at+8:], hi)
	}
}

// crypt works on a whole sector, in place. The XORs are done for all blocks at once, which
// the processor does many times faster than block by block.
func (x xts) crypt(sector, iv []byte, block func(dst, src []byte)) {
	var t [SectorSize]byte
	x.tweaks(t[:], iv)
	subtle.XORBytes(sector, sector, t[:])
	for at := 0; at < len(sector); at += blockBytes {
		b := sector[at : at+blockBytes : at+blockBytes]
		block(b, b)
	}
	subtle.XORBytes(sector, sector, t[:])
}

func (x xts) encrypt(sector, iv []byte) { x.crypt(sector, iv, x.data.Encrypt) }
func (x xts) decrypt(sector, iv []byte) { x.crypt(sector, iv, x.data.Decrypt) }
