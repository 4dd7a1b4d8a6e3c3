// Package luks1 is LUKS version 1: the header with its key slots. It knows bytes and
// offsets, and no disk images; sectors are encrypted by package sectors.
//
//	0        4 KiB                                     payload
//	| header | key slot 0 | key slot 1 | ... slot 7 | | sectors, encrypted
//	   |          |                                        ^
//	   |  passphrase --PBKDF2--> key --decrypts--> split   |
//	   |                                    master key     |
//	   +-- digest of the master key --------- is it? ------+ encrypts
//
// A slot holds the master key, spread over 4000 stripes so that losing one of them loses
// it (the anti-forensic splitter), and encrypted with a key made from a passphrase.
//
// Where to look:
//
//	header.go    the header, and what is refused
//	keyslot.go   passphrase to master key and back
//	split.go     the anti-forensic splitter
//	new.go       a header with a new master key
//
// Section names in comments are those of the "LUKS1 On-Disk Format Specification", version
// 1.2.3.
package luks1
