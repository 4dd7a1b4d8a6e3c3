package riscv

import (
	"testing"

	"github.com/qmon/qmon/vm"
)

// TestStoreIntoCode changes an instruction that has been executed: by a store of the hart,
// before and after so many that the page counts as data; by DMA; by another program that
// says FENCE.I.
func TestStoreIntoCode(t *testing.T) {
	h, ram := newHart(t, 1<<14)
	// a0 counts; the loop's first instruction is then changed to count by two.
	loop := []uint32{addi(10, 10, 1), encS(0x23, 2, 12, 13, 0), encJ(0, -8)}
	put(ram, 0, loop...)
	h.x[12], h.x[13] = ramBase+0x100, uint64(loop[0])
	h.Run(3 * 10)
	if h.x[10] != 10 {
		t.Fatalf("a0 = %d", h.x[10])
	}
	h.x[12], h.x[13] = ramBase, uint64(addi(10, 10, 2))
	h.Run(3 * 2)
	if h.x[10] != 13 {
		t.Errorf("after a store: a0 = %d, want 13", h.x[10])
	}
	h.x[12] = ramBase + 0x100
	h.Run(3 * 200) // now data
	h.x[12], h.x[13] = ramBase, uint64(addi(10, 10, 5))
	before := h.x[10]
	h.Run(3 * 2)
	if h.x[10] != before+7 {
		t.Errorf("after a store to a page of data: a0 grew by %d, want 7", h.x[10]-before)
	}
	put(ram, 0, addi(10, 10, 100))
	ram.Wrote(0, 4)
	before = h.x[10]
	h.x[12] = ramBase + 0x100
	h.Run(3)
	if h.x[10] != before+100 {
		t.Errorf("after DMA: a0 grew by %d, want 100", h.x[10]-before)
	}
	put(ram, 0, addi(10, 10, 200))
	ram.Wrote(0, ram.Size) // more than there are pages of code
	h.pc, before = ramBase, h.x[10]
	h.Run(1)
	if h.x[10] != before+200 {
		t.Errorf("after DMA to all of RAM: a0 grew by %d, want 200", h.x[10]-before)
	}
	put(ram, 0, addi(10, 10, 7))
	put(ram, 0x40, insFENCEI)
	h.pc = ramBase + 0x40
	h.Run(1)
	h.pc = ramBase
	before = h.x[10]
	h.Run(1)
	if h.x[10] != before+7 {
		t.Errorf("after FENCE.I: a0 grew by %d, want 7", h.x[10]-before)
	}
}

// TestCodePagesAreBounded executes on more pages than are kept.
func TestCodePagesAreBounded(t *testing.T) {
	const pages = maxCodePages + 10
	h, ram := newHart(t, (pages+1)*pageSize)
	for i := range uint64(pages) {
		put(ram, i*pageSize, addi(10, 10, 1), encJ(0, pageSize-4))
	}
	put(ram, pages*pageSize, insLoop)
	h.Run(2 * pages)
	if h.x[10] != pages || len(h.code.pages) > maxCodePages {
		t.Errorf("a0 %d, pages %d", h.x[10], len(h.code.pages))
	}
}

// TestInstructionAcrossPages executes a 32-bit instruction of which the second half lies
// on another page, which need not be the next in physical memory, and may be missing.
func TestInstructionAcrossPages(t *testing.T) {
	h, ram := newHart(t, 1<<16)
	ins := addi(10, 10, 3)
	le.PutUint16(ram.Data[0xffe:], uint16(ins))
	le.PutUint16(ram.Data[0x3000:], uint16(ins>>16)) // virtual page 1 is physical page 3
	put(ram, 0x3002, encJ(0, -4))                    // back to the instruction
	buildSv39(ram, 0x8000, map[uint64]uint64{0: 0 | 0xcf, 0x1000: 0x3000 | 0xcf})
	h.csrs.satp = satpSv39<<satpModeShift | (ramBase+0x8000)>>12
	h.priv, h.pc = modeS, 0xffe
	h.pmp.setAddr(0, pmpAddrMask)
	h.pmp.setConfig(0, pmpNAPOT|pmpR|pmpW|pmpX)
	h.updateContext()
	h.Run(20)
	if h.x[10] != 30 {
		t.Errorf("a0 = %d, want 30; pc %#x mcause %d", h.x[10], h.pc, h.csrs.mcause)
	}
	le.PutUint64(ram.Data[0xa008:], 0) // page 1 goes
	h.flushTLB()
	h.priv, h.pc = modeS, 0xffe
	h.updateContext()
	h.Run(1)
	if h.csrs.mcause != 12 || h.csrs.mepc != 0xffe || h.csrs.mtval != 0x1000 {
		t.Errorf("mcause %d, mepc %#x, mtval %#x", h.csrs.mcause, h.csrs.mepc, h.csrs.mtval)
	}
}

// TestFenceOfOnePage: SFENCE.VMA with an address makes a new translation of it known, also
// where the old one was a superpage's, and leaves other pages alone.
func TestFenceOfOnePage(t *testing.T) {
	const (
		a0, a1   = 10, 11
		leaf     = pteV | pteR | pteW | pteX | pteA | pteD
		directly = 1 << 30 // where a gigapage maps RAM from its start
	)
	h, ram := newHart(t, 1<<20)
	put(ram, 0, encI(0x03, 3, a1, a0, 0), 0x12050073) // ld a1, (a0); sfence.vma a0
	tables := map[uint64]uint64{0: leaf, 0x1000: 0x3000 | leaf, 0x2000: 0x3000 | leaf}
	buildSv39(ram, 0x8000, tables)
	le.PutUint64(ram.Data[0x8008:], ramBase>>2|leaf)
	for page := range uint64(8) {
		le.PutUint64(ram.Data[page*pageSize+0x800:], page)
	}
	h.pmp.setAddr(0, pmpAddrMask)
	h.pmp.setConfig(0, pmpNAPOT|pmpR|pmpW|pmpX)
	h.setSATP(satpSv39<<satpModeShift | (ramBase+0x8000)>>12)
	execute := func(pc, va uint64) {
		h.priv, h.pc, h.x[a0] = modeS, pc, va
		h.updateContext()
		h.Run(1)
	}
	load := func(va uint64) uint64 {
		execute(0, va)
		return h.x[a1]
	}
	fence := func(va uint64) { execute(4, va) }
	if a, b, c := load(0x1800), load(0x2800), load(directly+0x5800); a != 3 || b != 3 || c != 5 {
		t.Fatalf("pages %d, %d and %d, want 3, 3, 5", a, b, c)
	}
	tables[0x1000], tables[0x2000] = 0x4000|leaf, 0x4000|leaf
	buildSv39(ram, 0x8000, tables)
	if fence(0x1abc); load(0x1800) != 4 {
		t.Error("a page that was fenced is the old one")
	}
	if load(0x2800) != 3 {
		t.Error("a page that was not fenced has been looked up again")
	}
	le.PutUint64(ram.Data[0x8008:], 0) // the gigapage goes
	fence(directly + 0x6800)
	if load(directly + 0x5800); h.csrs.mcause != accessLoad.pageFault() {
		t.Errorf("a superpage that was fenced at another address is still there: cause %d", h.csrs.mcause)
	}
}

// buildSv39 writes page tables at an offset of RAM: root, one table of the second and one
// of the third level, for virtual addresses below 2 MiB; the values are offsets of RAM
// and flags.
func buildSv39(ram *vm.Region, off uint64, pages map[uint64]uint64) {
	pointer := func(to uint64) uint64 { return (ramBase+to)>>2 | pteV }
	le.PutUint64(ram.Data[off:], pointer(off+0x1000))
	le.PutUint64(ram.Data[off+0x1000:], pointer(off+0x2000))
	for va, entry := range pages {
		le.PutUint64(ram.Data[off+0x2000+va>>pageShift*8:], (ramBase+entry&^0xfff)>>2|entry&0xfff)
	}
}

// TestExecuteWherePMPEnds executes from a page of which the PMP allows only a part.
func TestExecuteWherePMPEnds(t *testing.T) {
	h, ram := newHart(t, 1<<14)
	put(ram, 0, addi(10, 10, 1), addi(10, 10, 1), addi(10, 10, 1), insLoop)
	h.pmp.setAddr(0, (ramBase+8)>>2)
	h.pmp.setConfig(0, pmpTOR|pmpR|pmpX)
	h.flushTLB()
	h.priv = modeS
	h.updateContext()
	h.Run(3)
	if h.x[10] != 2 || h.csrs.mcause != 1 || h.csrs.mepc != ramBase+8 || h.csrs.mtval != ramBase+8 {
		t.Errorf("a0 %d, mcause %d, mepc %#x, mtval %#x", h.x[10], h.csrs.mcause, h.csrs.mepc, h.csrs.mtval)
	}
}

// TestPMPLock shows what a locked entry keeps from being changed, and that it binds M mode.
func TestPMPLock(t *testing.T) {
	var p pmp
	p.setAddr(0, 0x100)
	p.setAddr(1, 0x200)
	p.setConfig(0, (pmpTOR|pmpL|pmpR)<<8)
	p.setAddr(0, 0)
	p.setAddr(1, 0)
	p.setConfig(0, 0)
	if p.addr[0] != 0x100 || p.addr[1] != 0x200 || p.cfg[1] != pmpTOR|pmpL|pmpR {
		t.Errorf("changed: %#x %#x %#x", p.addr[0], p.addr[1], p.cfg[1])
	}
	if p.allows(0x400, 4, accessStore, modeM) || !p.allows(0x400, 4, accessLoad, modeM) {
		t.Error("M mode is not bound")
	}
	if !p.allows(0x800, 4, accessStore, modeM) || p.allows(0x800, 4, accessLoad, modeS) {
		t.Error("outside: M may, S may not")
	}
}
