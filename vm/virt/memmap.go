package virt

import "errors"

// The memory map.
const (
	romBase      = 0x1000
	romSize      = 0xf000
	finisherBase = 0x100000
	finisherSize = 0x1000
	rtcBase      = 0x101000
	rtcSize      = 0x24
	swiBase      = 0x2000000
	swiSize      = 0x4000
	mtimerBase   = 0x2004000
	mtimerSize   = 0x8000
	plicBase     = 0xc000000
	plicSize     = 0x600000
	uartBase     = 0x10000000
	uartSize     = 8
	virtioBase   = 0x10001000
	virtioSize   = 0x200
	virtioStride = 0x1000
	RAMBase      = 0x80000000 // where RAM begins
)

// Slots is how many virtio devices fit on the board.
const Slots = 8

// Timebase is the frequency of mtime and the time CSR, in Hz.
const Timebase = 10_000_000

// Interrupt sources of the PLIC. Virtio slot n has source n+1.
const (
	virtioIRQ = 1
	uartIRQ   = 10
	rtcIRQ    = 11
)

// errAccess is an access of a size that a device does not answer.
var errAccess = errors.New("no register answers an access of this size")
