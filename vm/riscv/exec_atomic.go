package riscv

// reservation is what LR leaves for SC: SC succeeds if it finds the address and value
// unchanged. There is one hart, so that only its own stores and DMA can have come between.
type reservation struct {
	valid bool
	addr  uint64 // virtual
	value uint64
}

// execAtomic executes an instruction of the A extension (unprivileged specification,
// chapter 8). False means that an exception has been raised.
func (h *Hart) execAtomic(o *op) bool {
	size := uint64(8)
	if o.raw>>12&7 == 2 {
		size = 4
	}
	va := h.x[o.rs1]
	acc := accessStore
	if o.code == opLRW || o.code == opLRD {
		acc = accessLoad
	}
	if va&(size-1) != 0 {
		return h.raise(acc.misaligned(), va)
	}
	switch o.code {
	case opLRW, opLRD:
		v, ok := h.read(va, size)
		if !ok {
			return false
		}
		h.reserved = reservation{true, va, v}
		h.x[o.rd] = extend(v, size)
		return true
	case opSCW, opSCD:
		return h.storeConditional(o, va, size)
	}
	old, ok := h.loadForStore(va, size)
	if !ok {
		return false
	}
	old = extend(old, size)
	if !h.write(va, size, amo(o.code, old, extend(h.x[o.rs2], size))) {
		return false
	}
	h.x[o.rd] = old
	return true
}

// storeConditional executes SC; a failing one does not touch memory at all.
func (h *Hart) storeConditional(o *op, va, size uint64) bool {
	res := h.reserved
	h.reserved.valid = false
	if !res.valid || res.addr != va {
		h.x[o.rd] = 1
		return true
	}
	old, ok := h.loadForStore(va, size)
	if !ok {
		return false
	}
	if old != res.value {
		h.x[o.rd] = 1
		return true
	}
	if !h.write(va, size, h.x[o.rs2]) {
		return false
	}
	h.x[o.rd] = 0
	return true
}

// loadForStore reads what an AMO is about to write: the address must allow both, and what
// it forbids is a store fault.
func (h *Hart) loadForStore(va, size uint64) (uint64, bool) {
	if p := h.dataCtx.store.find(va, size-1); p != nil { // what can be written can be read
		return readBytes(p[va&pageMask:], size), true
	}
	pa, ok := h.physical(va, size, accessStore)
	if ok && !h.pmp.allows(pa, size, accessLoad, h.dataMode()) {
		ok = h.raise(accessStore.accessFault(), va)
	}
	if !ok {
		return 0, false
	}
	v, ok := h.load(va, size)
	if !ok { // the store would have been refused for the same reason
		h.exception.cause = asStoreFault(h.exception.cause)
	}
	return v, ok
}

// asStoreFault turns a load's exception cause into the store's.
func asStoreFault(cause uint64) uint64 { return cause + 2 }

// extend sign-extends a value of size 4 bytes.
func extend(v, size uint64) uint64 {
	if size == 4 {
		return uint64(int64(int32(v)))
	}
	return v
}

// amo combines memory and register; operands are sign-extended, which keeps the order of
// words, signed and unsigned.
func amo(code opcode, old, v uint64) uint64 {
	switch code {
	case opAMOSWAPW, opAMOSWAPD:
		return v
	case opAMOADDW, opAMOADDD:
		return old + v
	case opAMOXORW, opAMOXORD:
		return old ^ v
	case opAMOANDW, opAMOANDD:
		return old & v
	case opAMOORW, opAMOORD:
		return old | v
	case opAMOMINW, opAMOMIND:
		return uint64(min(int64(old), int64(v)))
	case opAMOMAXW, opAMOMAXD:
		return uint64(max(int64(old), int64(v)))
	case opAMOMINUW, opAMOMINUD:
		return min(old, v)
	}
	return max(old, v)
}
