// Package guest is a small program for the board of package virt: a prompt on the serial
// port that reads, writes and sums disk sectors and memory, and counts seconds. It is what
// runs where no firmware is installed, and shows in a minute what savevm and loadvm do:
//
//	guest> count           press a key at 5, C-a c, savevm a, C-a c
//	guest> text 0 9 hello  writes to the disk
//	                       C-a c, loadvm a, C-a c
//	guest> show 0 9        the sector is as it was
//	guest> count           goes on from 5
//
// The sources are in src; build.sh makes guest.bin from them.
package guest

import _ "embed"

// Program is the program, to be loaded at the start of RAM and entered there in machine
// mode with the address of the device tree in a1.
//
//go:embed guest.bin
var Program []byte
