// Package luks2 reads the headers of encrypted volumes of LUKS version 2, and opens their
// key slots. It never writes.
//
//	| binary header, JSON | a second copy | key slots    | segment: the disk, encrypted |
//	|      hdr_size       |   hdr_size    | areas of raw |
//
// Of the two copies the one with the greater sequence number that has a right checksum is
// the volume's. The JSON says which key slots there are (a passphrase goes through a key
// derivation function, and its result decrypts an area with the volume key, split), by which
// digest the volume key is known, and in which segment of the file the disk is, and how it
// is encrypted.
//
// Specification: "LUKS2 On-Disk Format Specification", version 1.1.1; the sections named are
// of that.
package luks2
