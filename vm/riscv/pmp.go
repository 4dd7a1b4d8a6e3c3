package riscv

import "math/bits"

// pmpCount is how many PMP entries there are: what firmware finds on QEMU.
const pmpCount = 16

// Fields of a pmpcfg byte (privileged specification, 3.7.1).
const (
	pmpR      = 1 << 0
	pmpW      = 1 << 1
	pmpX      = 1 << 2
	pmpA      = 3 << 3
	pmpTOR    = 1 << 3
	pmpNA4    = 2 << 3
	pmpNAPOT  = 3 << 3
	pmpL      = 1 << 7
	pmpFields = pmpR | pmpW | pmpX | pmpA | pmpL
)

// pmpAddrMask: a pmpaddr register holds bits 55..2 of an address.
const pmpAddrMask = 1<<54 - 1

// pmp is the physical memory protection unit (privileged specification, 3.7): of the
// entries that match any byte of an access, the lowest decides.
type pmp struct {
	cfg  [pmpCount]uint8
	addr [pmpCount]uint64

	ranges [pmpCount]pmpRange
	active int // number of entries that may match: the highest one in use + 1
}

// pmpRange is a decoded entry; last < first matches nothing.
type pmpRange struct{ first, last uint64 }

// update decodes the entries.
func (p *pmp) update() {
	p.active = 0
	for i, cfg := range p.cfg {
		p.ranges[i] = p.decode(i)
		if cfg&pmpA != 0 {
			p.active = i + 1
		}
	}
}

func (p *pmp) decode(i int) pmpRange {
	a := p.addr[i]
	switch p.cfg[i] & pmpA {
	case pmpTOR:
		var from uint64
		if i > 0 {
			from = p.addr[i-1]
		}
		if a > from {
			return pmpRange{from << 2, a<<2 - 1}
		}
	case pmpNA4:
		return pmpRange{a << 2, a<<2 + 3}
	case pmpNAPOT:
		n := uint(bits.TrailingZeros64(^a)) + 3 // log2 of the size
		first := a << 2 &^ (1<<n - 1)
		return pmpRange{first, first + (1<<n - 1)}
	}
	return pmpRange{1, 0}
}

// allows tells if an access of size bytes at pa is allowed to the mode. An entry that
// matches only a part of the access forbids it to M mode too, locked or not.
func (p *pmp) allows(pa, size uint64, acc access, mode uint8) bool {
	last := pa + size - 1
	for i := range p.active {
		r := &p.ranges[i]
		if r.last < r.first || last < r.first || pa > r.last {
			continue
		}
		if pa < r.first || last > r.last {
			return false // matched in part
		}
		cfg := p.cfg[i]
		if mode == modeM && cfg&pmpL == 0 {
			return true
		}
		return cfg&acc.pmpBit() != 0
	}
	return mode == modeM
}

// uniform tells if no entry begins or ends inside the page at pa, so that one answer holds
// for all of it.
func (p *pmp) uniform(pa uint64) bool {
	for i := range p.active {
		r := &p.ranges[i]
		if r.last < r.first || r.last < pa || r.first > pa+pageMask {
			continue
		}
		if r.first > pa || r.last < pa+pageMask {
			return false
		}
	}
	return true
}

// setAddr writes a pmpaddr register, unless it is locked, or bounds a locked TOR entry
// (3.7.1, "Locking and Privilege Mode").
func (p *pmp) setAddr(i int, v uint64) {
	if p.cfg[i]&pmpL != 0 {
		return
	}
	if i+1 < pmpCount && p.cfg[i+1]&pmpL != 0 && p.cfg[i+1]&pmpA == pmpTOR {
		return
	}
	p.addr[i] = v & pmpAddrMask
	p.update()
}

// config reads the eight entries from i on as a pmpcfg register has them.
func (p *pmp) config(i int) (v uint64) {
	for k := range 8 {
		v |= uint64(p.cfg[i+k]) << (8 * k)
	}
	return v
}

// setConfig writes the eight entries from i on, except locked ones; write without read is
// reserved and leaves an entry as it was.
func (p *pmp) setConfig(i int, v uint64) {
	for k := range 8 {
		cfg := uint8(v>>(8*k)) & pmpFields
		if p.cfg[i+k]&pmpL == 0 && cfg&(pmpR|pmpW) != pmpW {
			p.cfg[i+k] = cfg
		}
	}
	p.update()
}
