//go:build amd64 || arm64

package aesblocks

// encryptBlocks encrypts n blocks, n > 0.
//
//go:noescape
func encryptBlocks(keys *schedule, rounds int, dst, src *byte, n int)

// decryptBlocks is the reverse, with the keys of the equivalent inverse cipher.
//
//go:noescape
func decryptBlocks(keys *schedule, rounds int, dst, src *byte, n int)

// subWord replaces each byte of w by what the S-box has for it.
func subWord(w uint32) uint32

// unmixColumns is InvMixColumns on the round key that begins at k.
//
//go:noescape
func unmixColumns(k *uint32)
