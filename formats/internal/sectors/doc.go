// Package sectors encrypts and decrypts the sectors of disks: each by itself, with an
// initial vector made from its number.
//
//	sector n  --> | mode: xts, cbc, ctr, ecb      | --> sector n, encrypted
//	              |   block cipher: aes, twofish, |
//	              |   serpent, cast5              |
//	       n  --> | IV: plain, plain64, essiv     |
//
// Names are QEMU's. It knows no headers and no files: see luks1 and luks2 for those.
package sectors
