package riscv

import (
	"encoding/binary"

	"github.com/qmon/qmon/vm"
)

var le = binary.LittleEndian

// read and write are loads and stores of instructions that the run loop does not execute
// itself: first the TLB, then the slow path.

func (h *Hart) read(va, size uint64) (uint64, bool) {
	if p := h.dataCtx.load.find(va, size-1); p != nil {
		return readBytes(p[va&pageMask:], size), true
	}
	return h.load(va, size)
}

func (h *Hart) write(va, size, v uint64) bool {
	if p := h.dataCtx.store.find(va, size-1); p != nil {
		writeBytes(p[va&pageMask:], size, v)
		return true
	}
	return h.store(va, size, v)
}

// The slow paths of loads and stores: what the TLB does not know, is not aligned, or goes
// to a device. A false result means that an exception has been raised.

func (h *Hart) load(va, size uint64) (uint64, bool) {
	if last := va + size - 1; (va^last)&^pageMask != 0 {
		return h.loadAcross(va, size)
	}
	pa, ok := h.physical(va, size, accessLoad)
	if !ok {
		return 0, false
	}
	r := h.region(pa)
	if r == nil || pa-r.Base+size > r.Size {
		return 0, h.raise(accessLoad.accessFault(), va)
	}
	if r.Data != nil {
		h.fillTLB(va, pa, accessLoad, r)
		return readBytes(r.Data[pa-r.Base:], size), true
	}
	if pa&(size-1) != 0 {
		return 0, h.raise(accessLoad.misaligned(), va)
	}
	v, err := r.IO.ReadMMIO(pa-r.Base, int(size))
	if err != nil {
		return 0, h.raise(accessLoad.accessFault(), va)
	}
	return v, true
}

func (h *Hart) store(va, size, v uint64) bool {
	if last := va + size - 1; (va^last)&^pageMask != 0 {
		return h.storeAcross(va, size, v)
	}
	pa, ok := h.physical(va, size, accessStore)
	if !ok {
		return false
	}
	r := h.region(pa)
	if r == nil || pa-r.Base+size > r.Size {
		return h.raise(accessStore.accessFault(), va)
	}
	switch {
	case r.Kind == vm.RegionRAM:
		writeBytes(r.Data[pa-r.Base:], size, v)
		h.code.wrote(pa, size)
		h.fillTLB(va, pa, accessStore, r)
		return true
	case r.Kind == vm.RegionROM: // as on QEMU, a store to ROM is without effect
		return true
	case pa&(size-1) != 0:
		return h.raise(accessStore.misaligned(), va)
	}
	if r.IO.WriteMMIO(pa-r.Base, int(size), v) != nil {
		return h.raise(accessStore.accessFault(), va)
	}
	return true
}

// loadAcross is a misaligned load from two pages.
func (h *Hart) loadAcross(va, size uint64) (v uint64, ok bool) {
	for i := range size {
		b, ok := h.load(va+i, 1)
		if !ok {
			return 0, false
		}
		v |= b << (8 * i)
	}
	return v, true
}

// storeAcross is a misaligned store to two pages: both must be writable before the first
// byte changes.
func (h *Hart) storeAcross(va, size, v uint64) bool {
	second := (va + size - 1) &^ pageMask
	for _, part := range [...][2]uint64{{va, second - va}, {second, va + size - second}} {
		pa, ok := h.physical(part[0], part[1], accessStore)
		if !ok {
			return false
		}
		if r := h.region(pa); r == nil {
			return h.raise(accessStore.accessFault(), part[0])
		}
	}
	for i := range size {
		if !h.store(va+i, 1, v>>(8*i)&0xff) {
			return false
		}
	}
	return true
}

// physical translates the address of a data access within one page and asks the PMP.
func (h *Hart) physical(va, size uint64, acc access) (uint64, bool) {
	mode := h.dataMode()
	m := h.translate(va, acc, mode, false)
	if !m.ok {
		return 0, h.raise(m.fault, va)
	}
	if !h.pmp.allows(m.pa, size, acc, mode) {
		return 0, h.raise(acc.accessFault(), va)
	}
	return m.pa, true
}

// readBytes reads an integer of 1, 2, 4 or 8 bytes.
func readBytes(b []byte, size uint64) uint64 {
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(le.Uint16(b))
	case 4:
		return uint64(le.Uint32(b))
	}
	return le.Uint64(b)
}

// writeBytes writes an integer of 1, 2, 4 or 8 bytes.
func writeBytes(b []byte, size, v uint64) {
	switch size {
	case 1:
		b[0] = byte(v)
	case 2:
		le.PutUint16(b, uint16(v))
	case 4:
		le.PutUint32(b, uint32(v))
	default:
		le.PutUint64(b, v)
	}
}
