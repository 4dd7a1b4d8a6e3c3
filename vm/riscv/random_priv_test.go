package riscv

import "fmt"

const (
	windowPages = 8
	windowVA    = 0x40000000
)

// enter goes from M mode to a mode (0 or 1); in U mode with paging the program runs at its
// alias, bit 30 set.
func (p *randomProgram) enter(mode int, alias bool) {
	p.label++
	p.emit("lla x5, .L%d", p.label)
	if alias && mode == modeU {
		p.emit("li x6, 1 << 30")
		p.emit("or x5, x5, x6")
	}
	p.emit("csrw mepc, x5")
	p.emit("li x5, 0x1800")
	p.emit("csrc mstatus, x5")
	if mode == modeS {
		p.emit("li x5, 0x800")
		p.emit("csrs mstatus, x5")
	}
	p.emit("mret")
	fmt.Fprintf(&p.body, ".L%d:\n", p.label)
	p.emit("lla s0, data + 2048")
	p.emit("mv s1, s0")
}

// leave goes back to M mode.
func (p *randomProgram) leave() {
	p.emit("ecall")
	p.emit("lla s0, data + 2048")
	p.emit("mv s1, s0")
}

// delegate sets medeleg to a random subset of what a program can cause, but for ecalls.
func (p *randomProgram) delegate() {
	p.emit("li x5, %#x", p.Uint64()&(1<<1|1<<2|1<<3|1<<4|1<<5|1<<6|1<<7|1<<12|1<<13|1<<15))
	p.emit("csrw medeleg, x5")
}

// modes is the rules of traps and privilege, without paging.
func (p *randomProgram) modes(n int) {
	for range n / 10 {
		p.delegate()
		p.emit("li x5, %#x", 7<<20) // TVM, TW, TSR
		p.emit("csrc mstatus, x5")
		p.emit("li x5, %#x", p.IntN(2)<<20|1<<21)
		p.emit("csrs mstatus, x5")
		p.emit("li x5, %#x", p.IntN(8))
		p.emit("csrw %s, x5", pick(p, "mcounteren", "scounteren"))
		mode := pick(p, modeU, modeS, modeM)
		if mode != modeM {
			p.enter(mode, false)
		}
		for range 10 {
			p.trapOp(mode)
		}
		if mode != modeM {
			p.leave()
		}
		p.emit("li x5, 0x6000")
		p.emit("csrs mstatus, x5")
	}
}

// trapOp is an instruction that traps in some modes, or always.
func (p *randomProgram) trapOp(mode int) {
	switch p.IntN(12) {
	case 0:
		p.emit("ebreak")
	case 1:
		p.emit(".option push\n\t.option norvc\n\tebreak\n\t.option pop")
	case 2:
		p.emit(".word %#x", pick[uint32](p, 0xffffffff, 0x0000307f, 0x00002063, 0x10000073, 0x02000053))
	case 3:
		p.emit(".half %#x", pick[uint32](p, 0, 0x6101, 0x2001, 0x4002, 0x8002, 0x8000))
	case 4:
		p.emit("csrrw %s, %s, x0", p.reg(), pick(p, "mhartid", "0xc00", "0x5c0", "0x7c0", "0x3a1"))
	case 5:
		if mode == modeM {
			return
		}
		p.emit("%s %s, %s", "csrr", p.reg(), pick(p, "mstatus", "mepc", "sscratch", "satp", "pmpaddr0", "sstatus"))
	case 6:
		p.emit("csrr x0, %s", pick(p, "time", "cycle", "instret"))
	case 7:
		p.emit("li s1, %#x", pick(p, 0x10, 0x400, 0x8000000, 0x11000008))
		p.emit("%s %s, (s1)", pick(p, "lb", "ld", "sd", "sw", "lr.w"), p.reg())
	case 8:
		p.emit("li x5, %#x", pick(p, 0x10, 0x8000000))
		p.emit("jalr ra, (x5)")
	case 9:
		p.emit("addi s1, s0, %d", p.IntN(8))
		p.amo(pick(p, "w", "d"), "s1")
	case 10:
		p.wrongMode(mode)
	case 11:
		p.registerOp()
	}
}

// wrongMode is a privileged instruction that a lesser mode may not execute, or only if
// mstatus lets it.
func (p *randomProgram) wrongMode(mode int) {
	switch mode {
	case modeU:
		p.emit("%s", pick(p, "sret", "mret", "wfi", "sfence.vma", "fence.i", "fence", "csrr x0, sstatus"))
	case modeS:
		// TSR and TW are set, or the instructions would go somewhere or wait; with TSR the
		// handler of S mode cannot return.
		p.leave()
		p.emit("csrw medeleg, x0")
		p.emit("li x5, %#x", 3<<21)
		p.emit("csrs mstatus, x5")
		p.enter(modeS, false)
		p.emit("%s", pick(p, "sret", "mret", "wfi", "sfence.vma", "csrr x7, satp", "csrw satp, x0"))
	}
}

// paging is accesses through page tables with odd permissions.
func (p *randomProgram) paging(n int) {
	p.tables()
	for range n / 12 {
		p.delegate()
		p.emit("li x5, %#x", 3<<18) // SUM and MXR
		p.emit("%s mstatus, x5", pick(p, "csrs", "csrc"))
		p.emit("sfence.vma")
		switch mode := pick(p, modeU, modeS, modeS, modeM); mode {
		case modeM:
			p.asOther()
		default:
			p.enter(mode, true)
			for range 12 {
				p.pageOp(mode)
			}
			p.leave()
		}
	}
}

// tables builds the page tables: the window's leaves with random bits, an identity mapping
// for S and an alias for U.
func (p *randomProgram) tables() {
	p.emit("lla x5, root")
	p.emit("lla x6, l1")
	p.emit("srli x6, x6, 2")
	p.emit("ori x6, x6, 1")
	p.emit("sd x6, 8(x5)")
	p.emit("li x6, 0x200000cf")
	p.emit("sd x6, 16(x5)")
	p.emit("li x6, 0x200000df")
	p.emit("sd x6, 24(x5)")
	p.emit("lla x5, l1")
	p.emit("lla x6, l0")
	p.emit("srli x6, x6, 2")
	p.emit("ori x6, x6, 1")
	p.emit("sd x6, 0(x5)")
	for i := 1; i < 4; i++ { // megapages, some misaligned; never a pointer into the program
		p.emit("li x6, %#x", 0x20000000|p.pte()|pteR|pick[uint64](p, 0, 0, 0x400))
		p.emit("sd x6, %d(x5)", 8*i)
	}
	p.emit("lla x5, l0")
	p.emit("lla x6, window")
	p.emit("srli x6, x6, 2")
	for i := range 2 * windowPages {
		p.emit("li x7, %#x", p.pte())
		p.emit("or x7, x7, x6")
		p.emit("sd x7, %d(x5)", 8*i)
		if i%2 == 1 {
			p.emit("addi x6, x6, 0x400")
		}
	}
	p.emit("lla x5, root")
	mode := pick[uint64](p, satpSv39, satpSv39, satpSv48)
	if mode == satpSv48 {
		p.emit("lla x6, root4")
		p.emit("srli x5, x5, 2")
		p.emit("ori x5, x5, 1")
		p.emit("sd x5, 0(x6)")
		p.emit("mv x5, x6")
	}
	p.emit("srli x5, x5, 12")
	p.emit("li x6, %#x", mode<<satpModeShift)
	p.emit("or x5, x5, x6")
	p.emit("csrw satp, x5")
	p.emit("sfence.vma")
}

// pte is the lower bits of a leaf, most often a good one.
func (p *randomProgram) pte() uint64 {
	v := uint64(pteV | pteR | pteW | pteX | pteA | pteD)
	v ^= p.Uint64() & p.Uint64() & (pteR | pteW | pteX | pteA | pteD)
	v |= p.Uint64() & (pteU | 1<<8)
	switch p.IntN(12) {
	case 0:
		v ^= pteV
	case 1:
		v |= 1 << (54 + p.IntN(10))
	}
	return v
}

// place sets s1 to an address in the window, sometimes near the end of a page, or to one of
// the megapages, or to one that is not canonical.
func (p *randomProgram) place() {
	va := uint64(windowVA + p.IntN(2*windowPages)*pageSize)
	switch p.IntN(10) {
	case 0:
		va += pageSize - 4 + uint64(p.IntN(4))
	case 1: // the same page of RAM, the frame's log, through a megapage
		va = windowVA + uint64(1+p.IntN(3))<<21 + 0x1ff000
	case 2:
		va |= 1 << (39 + p.IntN(25))
	default:
		va += uint64(p.IntN(256) * 8)
	}
	p.emit("li s1, %#x", va)
}

// pageOp is an access to the window.
func (p *randomProgram) pageOp(mode int) {
	switch p.IntN(9) {
	case 0:
		p.place()
		if p.IntN(2) == 0 {
			p.amo(pick(p, "w", "d"), "s1")
			return
		}
		p.emit("andi s1, s1, -8")
		p.atomicOp("s1")
	case 1:
		if mode == modeS { // QEMU lets S fetch from a page of U that it loaded from with SUM
			p.emit("li x5, %#x", 1<<18)
			p.emit("csrc sstatus, x5")
			p.emit("sfence.vma")
		}
		p.emit("li s1, %#x", windowVA+p.IntN(2*windowPages)*pageSize+0xff0)
		p.emit("jalr ra, %d(s1)", pick(p, 0, 2, 14))
	case 2:
		if mode == modeS {
			p.emit("li x5, %#x", pick(p, 1<<18, 1<<19))
			p.emit("%s sstatus, x5", pick(p, "csrs", "csrc"))
		}
	case 3: // a leaf changes; S mode alone may say so
		if mode == modeS {
			page := p.IntN(2 * windowPages)
			p.emit("lla x5, l0 + %d", 8*page)
			p.emit("ld x6, (x5)")
			p.emit("xori x6, x6, %d", pick(p, pteV, pteR, pteX, pteU, pteA, pteD, pteR|pteW))
			p.emit("sd x6, (x5)")
			p.emit("li x7, %#x", windowVA+page*pageSize+p.IntN(pageSize))
			p.emit(pick(p, "sfence.vma", "sfence.vma x7", "sfence.vma x7, x5"))
		}
	default:
		p.place()
		p.memoryOp("s1", p.IntN(8))
	}
}

// asOther is accesses of M mode with the rights of another (MPRV).
func (p *randomProgram) asOther() {
	for range 6 {
		p.place()
		p.emit("li x5, 0x1800")
		p.emit("csrc mstatus, x5")
		p.emit("li x5, %#x", pick(p, 0, 0x800)|1<<17)
		p.emit("csrs mstatus, x5")
		p.memoryOp("s1", p.IntN(8))
		p.emit("li x5, %#x", 1<<17)
		p.emit("csrc mstatus, x5")
	}
}

// protection is PMP entries of all kinds over the data, with accesses from every mode.
func (p *randomProgram) protection(n int) {
	for range n / 20 {
		cfg, before := uint64(0), 1<<20
		for i := range 6 {
			at := p.IntN(1024) * 2 // in units of 4 bytes from data
			ones := p.IntN(9)      // the low bits that make a NAPOT size, up to 2 KiB
			at = at&^(1<<ones) | (1<<ones - 1)
			p.emit("lla x5, data")
			p.emit("srli x5, x5, 2")
			p.emit("addi x5, x5, %d", at/2)
			p.emit("addi x5, x5, %d", at-at/2)
			p.emit("csrw pmpaddr%d, x5", i)
			bits := p.Uint64() & (pmpR | pmpW | pmpX | pmpA)
			if bits&pmpR == 0 {
				bits &^= pmpW
			}
			if bits&pmpA == pmpTOR && at <= before { // from 0, or empty: QEMU takes the latter amiss
				bits |= pmpNAPOT
			}
			before = at
			cfg |= bits << (8 * i)
		}
		p.emit("li x5, %#x", cfg)
		p.emit("csrw pmpcfg0, x5")
		p.delegate()
		p.enter(pick(p, modeU, modeS), false)
		for range 20 {
			// Of an access QEMU looks at the ends only: none may span an NA4 entry.
			p.emit("lla s1, data + %d", 8+p.IntN(2000)*4)
			switch p.IntN(6) {
			case 0:
				p.emit("andi s1, s1, -8")
				p.atomicOp("s1")
			default:
				p.memoryOp("s1", 0)
			}
		}
		p.leave()
	}
}

// interrupts raises one interrupt at a time, with the enables in all states.
func (p *randomProgram) interrupts(n int) {
	for range n / 10 {
		bit := pick(p, 1, 5, 9, 3, 7)
		p.emit("csrw mie, x0")
		p.emit("csrci mstatus, 10")
		p.emit("li x5, %#x", p.Uint64()&supervisorBits)
		p.emit("csrw mideleg, x5")
		p.emit("li x5, %#x", 1<<bit)
		switch bit {
		case 3:
			p.emit("li x6, 0x2000000")
			p.emit("li x7, 1")
			p.emit("sw x7, (x6)")
		case 7:
			p.emit("li x6, 0x2004000")
			p.emit("sd x0, (x6)")
		default:
			p.emit("csrs mip, x5")
		}
		p.label++
		fmt.Fprintf(&p.body, ".L%d:\n", p.label)
		p.emit("csrr x6, mip")
		p.emit("and x6, x6, x5")
		p.emit("beqz x6, .L%d", p.label)
		p.emit("%s mie, x5", pick(p, "csrs", "csrs", "csrw"))
		if p.IntN(2) == 0 {
			p.emit("csrsi mstatus, %d", pick(p, 8, 2, 10))
			p.registerOp()
		}
		if mode := pick(p, modeU, modeS, modeM); mode != modeM {
			p.emit("csr%s mstatus, 2", pick(p, "si", "ci"))
			p.enter(mode, false)
			p.registerOp()
			if mode == modeS {
				p.emit("csrsi sstatus, 2")
				p.registerOp()
				p.emit("csrci sstatus, 2")
			}
			p.leave()
		}
		p.emit("csrw mie, x0")
		p.emit("csrw mip, x0")
		p.emit("li x6, 0x2000000")
		p.emit("sw x0, (x6)")
		p.emit("li x6, 0x2004000")
		p.emit("li x7, -1")
		p.emit("sd x7, (x6)")
	}
}
