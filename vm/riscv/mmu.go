package riscv

import "github.com/qmon/qmon/vm"

// access is what an instruction does with an address.
type access uint8

const (
	accessFetch access = iota
	accessLoad
	accessStore
)

func (a access) pmpBit() uint8 { return [...]uint8{pmpX, pmpR, pmpW}[a] }

// Exceptions by access (privileged specification, table 3.6).
func (a access) accessFault() uint64 { return [...]uint64{1, 5, 7}[a] }
func (a access) pageFault() uint64   { return [...]uint64{12, 13, 15}[a] }
func (a access) misaligned() uint64  { return [...]uint64{0, 4, 6}[a] }

// Page table entry bits (privileged specification, 4.4.1).
const (
	pteV = 1 << 0
	pteR = 1 << 1
	pteW = 1 << 2
	pteX = 1 << 3
	pteU = 1 << 4
	pteA = 1 << 6
	pteD = 1 << 7

	ptePPNShift = 10
	ptePPNBits  = 44
	// pteReserved: bits 63..54 must be zero without Svnapot and Svpbmt.
	pteReserved = 0x3ff << 54
)

// satp (privileged specification, 4.1.11).
const (
	satpModeShift = 60
	satpPPN       = 1<<44 - 1
	satpBare      = 0
	satpSv39      = 8
	satpSv48      = 9
)

// vpnBits is the width of one level's index.
const vpnBits = 9

// mapping is a translated address, or the cause of the exception.
type mapping struct {
	pa    uint64
	fault uint64 // the cause, if not ok
	ok    bool
}

// translate finds the physical address of va for an access with the rights of mode. It
// asks the PMP about page tables and sets A and D bits, but not to peek (privileged
// specification, 4.3.2).
func (h *Hart) translate(va uint64, acc access, mode uint8, peek bool) mapping {
	levels := 0
	if mode != modeM {
		switch h.csrs.satp >> satpModeShift {
		case satpSv39:
			levels = 3
		case satpSv48:
			levels = 4
		}
	}
	if levels == 0 {
		return mapping{pa: va, ok: true}
	}
	return h.walk(va, acc, mode, levels, peek)
}

// walk reads the page tables.
func (h *Hart) walk(va uint64, acc access, mode uint8, levels int, peek bool) mapping {
	fault := mapping{fault: acc.pageFault()}
	if width := uint(pageShift + vpnBits*levels); uint64(int64(va<<(64-width))>>(64-width)) != va {
		return fault
	}
	table := h.csrs.satp & satpPPN << pageShift
	for level := levels - 1; level >= 0; level-- {
		shift := uint(pageShift + vpnBits*level)
		at := table + va>>shift&(1<<vpnBits-1)*8
		slot := h.pteSlot(at)
		if slot == nil || !peek && !h.pmp.allows(at, 8, accessLoad, modeS) {
			return mapping{fault: acc.accessFault()}
		}
		pte := le.Uint64(slot)
		switch {
		case pte&pteV == 0 || pte&(pteR|pteW) == pteW || pte&pteReserved != 0:
			return fault
		case pte&(pteR|pteW|pteX) == 0:
			if pte&(pteA|pteD|pteU) != 0 {
				return fault
			}
			table = pte >> ptePPNShift << pageShift
			continue
		}
		ppn := pte >> ptePPNShift & (1<<ptePPNBits - 1)
		inPage := uint64(1)<<shift - 1
		if ppn<<pageShift&inPage != 0 || !h.permits(pte, acc, mode) {
			return fault
		}
		if !peek && !h.markUsed(at, slot, pte, acc) {
			return mapping{fault: acc.accessFault()}
		}
		if !peek && level > 0 {
			h.super.include(va&^inPage, va|inPage)
		}
		return mapping{pa: ppn<<pageShift | va&inPage, ok: true}
	}
	return fault
}

// pteSlot is the page table entry at a physical address, nil where nothing answers. Page
// tables lie in RAM or ROM.
func (h *Hart) pteSlot(pa uint64) []byte {
	r := h.region(pa)
	if r == nil || r.Data == nil || r.Size-(pa-r.Base) < 8 {
		return nil
	}
	off := pa - r.Base
	return r.Data[off : off+8 : off+8]
}

// permits checks a leaf's rights.
func (h *Hart) permits(pte uint64, acc access, mode uint8) bool {
	switch {
	case mode == modeU && pte&pteU == 0:
		return false
	case mode == modeS && pte&pteU != 0 && (acc == accessFetch || h.csrs.mstatus&mstatusSUM == 0):
		return false
	}
	switch acc {
	case accessFetch:
		return pte&pteX != 0
	case accessStore:
		return pte&pteW != 0
	}
	return pte&pteR != 0 || pte&pteX != 0 && h.csrs.mstatus&mstatusMXR != 0
}

// markUsed sets A, and D for a store. Hardware that does so is one of the two choices of
// the specification, and QEMU's.
func (h *Hart) markUsed(at uint64, slot []byte, pte uint64, acc access) bool {
	want := pte | pteA
	if acc == accessStore {
		want |= pteD
	}
	if want == pte {
		return true
	}
	if !h.pmp.allows(at, 8, accessStore, modeS) || h.region(at).Kind != vm.RegionRAM {
		return false
	}
	le.PutUint64(slot, want)
	h.code.wrote(at, 8)
	return true
}

// Translate implements vm.Translator.
func (h *Hart) Translate(virt uint64) (uint64, bool) {
	m := h.translate(virt, accessLoad, h.dataMode(), true)
	if !m.ok { // pages that may only be executed can be looked at as well
		m = h.translate(virt, accessFetch, h.priv, true)
	}
	return m.pa, m.ok
}

// region finds the region of a physical address, most often the one of the last time.
func (h *Hart) region(pa uint64) *vm.Region {
	if r := h.last; r != nil && pa-r.Base < r.Size {
		return r
	}
	r := h.mem.Find(pa)
	if r != nil {
		h.last = r
	}
	return r
}
