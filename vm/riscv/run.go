package riscv

import "github.com/qmon/qmon/vm"

// kickInterval is how many instructions run between two looks at Kick: some microseconds.
const kickInterval = 4096

// Run implements vm.CPU.
func (h *Hart) Run(budget int64) (int64, vm.Exit) {
	h.budget, h.beyond, h.left = budget, budget, 0
	why := h.run()
	n := budget - h.beyond - h.left
	h.executed += n
	h.budget, h.beyond, h.left = 0, 0, 0
	return n, why
}

// run executes until the budget is used up, in turns of up to kickInterval.
func (h *Hart) run() vm.Exit {
	for {
		if h.left == 0 {
			h.left = min(h.beyond, kickInterval)
			h.beyond -= h.left
			if h.left == 0 {
				return vm.ExitBudget
			}
		}
		if h.kicked.Load() {
			h.kicked.Store(false)
			return vm.ExitKick
		}
		if h.halted {
			if h.csrs.pending() == 0 {
				return vm.ExitHalt
			}
			h.halted = false
		}
		h.recheck = false
		h.takeInterrupt()
		if ops := h.enter(); ops != nil {
			h.left = h.runOps(ops, h.left)
			continue
		}
		h.left--
		h.takeException()
	}
}

// enter finds the ops to execute at pc, of which the first is decoded. Nil means that an
// exception has been raised.
func (h *Hart) enter() *codeOps {
	page, ok := h.lookup(h.pc)
	if !ok {
		return nil
	}
	if page == nil {
		return h.lookupSingle(h.pc)
	}
	i := uint32(h.pc & pageMask / 2)
	if page.ops[i].code == opUndecoded {
		h.code.decode(page, i)
	}
	if page.ops[i].code == opCross {
		return h.lookupSingle(h.pc)
	}
	return &page.ops
}

// leaveAt leaves the run loop with parcel i of a page as the next to be executed.
func (h *Hart) leaveAt(page uint64, i uint32, left int64) int64 {
	h.pc = page + uint64(i)*2
	return left
}

// runOps executes ops from pc on until something has happened that the caller must look
// at: a trap, a change of CSRs, a level of an interrupt line, an op that is not decoded or a
// page that is not in the fetch TLB, or until left instructions are executed. It returns how
// many of them are left.
//
// The present instruction is op i of ops, at address pageVA + 2*i; pc itself is up to date
// only outside. This is the one hot function: it is long because a case per instruction in
// one switch is what the compiler turns into a single jump through a table. There is one
// call in it after which the loop goes on, so that what is live across it is stored on the
// stack there and not before every instruction. The length of an instruction is the
// constant of a case, not a value to be loaded: the next op can be fetched early.
func (h *Hart) runOps(ops *codeOps, left int64) int64 {
	var (
		pageVA = h.pc &^ pageMask
		i      = uint32(h.pc & pageMask / 2)
		o      *op
		step   uint32
	)
	for left > 0 {
		o = &ops[i]
		left--
		step = 2
		switch o.dispatch {
		case opADDI + compressed:
			step = 1
			fallthrough
		case opADDI:
			h.x[o.rd] = h.x[o.rs1] + uint64(o.imm)
		case opSLTI:
			h.x[o.rd] = bit(int64(h.x[o.rs1]) < int64(uint64(o.imm)))
		case opSLTIU:
			h.x[o.rd] = bit(h.x[o.rs1] < uint64(o.imm))
		case opXORI:
			h.x[o.rd] = h.x[o.rs1] ^ uint64(o.imm)
		case opORI:
			h.x[o.rd] = h.x[o.rs1] | uint64(o.imm)
		case opANDI + compressed:
			step = 1
			fallthrough
		case opANDI:
			h.x[o.rd] = h.x[o.rs1] & uint64(o.imm)
		case opSLLI + compressed:
			step = 1
			fallthrough
		case opSLLI:
			h.x[o.rd] = h.x[o.rs1] << (uint64(o.imm) & 63)
		case opSRLI + compressed:
			step = 1
			fallthrough
		case opSRLI:
			h.x[o.rd] = h.x[o.rs1] >> (uint64(o.imm) & 63)
		case opSRAI + compressed:
			step = 1
			fallthrough
		case opSRAI:
			h.x[o.rd] = uint64(int64(h.x[o.rs1]) >> (uint64(o.imm) & 63))
		case opADDIW + compressed:
			step = 1
			fallthrough
		case opADDIW:
			h.x[o.rd] = word(h.x[o.rs1] + uint64(o.imm))
		case opSLLIW:
			h.x[o.rd] = word(h.x[o.rs1] << (uint64(o.imm) & 31))
		case opSRLIW:
			h.x[o.rd] = word(uint64(uint32(h.x[o.rs1]) >> (uint64(o.imm) & 31)))
		case opSRAIW:
			h.x[o.rd] = uint64(int64(int32(h.x[o.rs1]) >> (uint64(o.imm) & 31)))
		case opADD + compressed:
			step = 1
			fallthrough
		case opADD:
			h.x[o.rd] = h.x[o.rs1] + h.x[o.rs2]
		case opSUB + compressed:
			step = 1
			fallthrough
		case opSUB:
			h.x[o.rd] = h.x[o.rs1] - h.x[o.rs2]
		case opSLL:
			h.x[o.rd] = h.x[o.rs1] << (h.x[o.rs2] & 63)
		case opSLT:
			h.x[o.rd] = bit(int64(h.x[o.rs1]) < int64(h.x[o.rs2]))
		case opSLTU:
			h.x[o.rd] = bit(h.x[o.rs1] < h.x[o.rs2])
		case opXOR + compressed:
			step = 1
			fallthrough
		case opXOR:
			h.x[o.rd] = h.x[o.rs1] ^ h.x[o.rs2]
		case opSRL:
			h.x[o.rd] = h.x[o.rs1] >> (h.x[o.rs2] & 63)
		case opSRA:
			h.x[o.rd] = uint64(int64(h.x[o.rs1]) >> (h.x[o.rs2] & 63))
		case opOR + compressed:
			step = 1
			fallthrough
		case opOR:
			h.x[o.rd] = h.x[o.rs1] | h.x[o.rs2]
		case opAND + compressed:
			step = 1
			fallthrough
		case opAND:
			h.x[o.rd] = h.x[o.rs1] & h.x[o.rs2]
		case opADDW + compressed:
			step = 1
			fallthrough
		case opADDW:
			h.x[o.rd] = word(h.x[o.rs1] + h.x[o.rs2])
		case opSUBW + compressed:
			step = 1
			fallthrough
		case opSUBW:
			h.x[o.rd] = word(h.x[o.rs1] - h.x[o.rs2])
		case opSLLW:
			h.x[o.rd] = word(h.x[o.rs1] << (h.x[o.rs2] & 31))
		case opSRLW:
			h.x[o.rd] = word(uint64(uint32(h.x[o.rs1]) >> (h.x[o.rs2] & 31)))
		case opSRAW:
			h.x[o.rd] = uint64(int64(int32(h.x[o.rs1]) >> (h.x[o.rs2] & 31)))
		case opMUL:
			h.x[o.rd] = h.x[o.rs1] * h.x[o.rs2]
		case opMULH:
			h.x[o.rd] = mulh(h.x[o.rs1], h.x[o.rs2])
		case opMULHSU:
			h.x[o.rd] = mulhsu(h.x[o.rs1], h.x[o.rs2])
		case opMULHU:
			h.x[o.rd] = mulhu(h.x[o.rs1], h.x[o.rs2])
		case opDIV:
			h.x[o.rd] = div(int64(h.x[o.rs1]), int64(h.x[o.rs2]))
		case opDIVU:
			h.x[o.rd] = divu(h.x[o.rs1], h.x[o.rs2])
		case opREM:
			h.x[o.rd] = rem(int64(h.x[o.rs1]), int64(h.x[o.rs2]))
		case opREMU:
			h.x[o.rd] = remu(h.x[o.rs1], h.x[o.rs2])
		case opMULW:
			h.x[o.rd] = word(h.x[o.rs1] * h.x[o.rs2])
		case opDIVW:
			h.x[o.rd] = divw(h.x[o.rs1], h.x[o.rs2])
		case opDIVUW:
			h.x[o.rd] = divuw(h.x[o.rs1], h.x[o.rs2])
		case opREMW:
			h.x[o.rd] = remw(h.x[o.rs1], h.x[o.rs2])
		case opREMUW:
			h.x[o.rd] = remuw(h.x[o.rs1], h.x[o.rs2])
		case opLUI + compressed:
			step = 1
			fallthrough
		case opLUI:
			h.x[o.rd] = uint64(o.imm)
		case opAUIPC:
			h.x[o.rd] = pageVA + uint64(i)*2 + uint64(o.imm)
		case opBEQ + compressed:
			step = 1
			fallthrough
		case opBEQ:
			if h.x[o.rs1] == h.x[o.rs2] {
				i += uint32(o.imm)
				goto jumped
			}
		case opBNE + compressed:
			step = 1
			fallthrough
		case opBNE:
			if h.x[o.rs1] != h.x[o.rs2] {
				i += uint32(o.imm)
				goto jumped
			}
		case opBLT:
			if int64(h.x[o.rs1]) < int64(h.x[o.rs2]) {
				i += uint32(o.imm)
				goto jumped
			}
		case opBGE:
			if int64(h.x[o.rs1]) >= int64(h.x[o.rs2]) {
				i += uint32(o.imm)
				goto jumped
			}
		case opBLTU:
			if h.x[o.rs1] < h.x[o.rs2] {
				i += uint32(o.imm)
				goto jumped
			}
		case opBGEU:
			if h.x[o.rs1] >= h.x[o.rs2] {
				i += uint32(o.imm)
				goto jumped
			}
		case opJAL + compressed:
			step = 1
			fallthrough
		case opJAL:
			h.x[o.rd] = pageVA + uint64(i+step)*2
			i += uint32(o.imm)
			goto jumped
		case opJALR + compressed:
			step = 1
			fallthrough
		case opJALR:
			pc := (h.x[o.rs1] + uint64(o.imm)) &^ 1
			h.x[o.rd] = pageVA + uint64(i+step)*2
			i = uint32(pc & pageMask / 2)
			if pc&^pageMask == pageVA {
				continue
			}
			pageVA = pc &^ pageMask
			goto newPage
		case opLD + compressed:
			step = 1
			fallthrough
		case opLD:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.load.find(va, 7); p != nil {
				h.x[o.rd] = le.Uint64(p[va&pageMask&^7:])
				break
			}
			goto slow
		case opLW + compressed:
			step = 1
			fallthrough
		case opLW:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.load.find(va, 3); p != nil {
				h.x[o.rd] = uint64(int32(le.Uint32(p[va&pageMask&^3:])))
				break
			}
			goto slow
		case opLWU:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.load.find(va, 3); p != nil {
				h.x[o.rd] = uint64(le.Uint32(p[va&pageMask&^3:]))
				break
			}
			goto slow
		case opLH:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.load.find(va, 1); p != nil {
				h.x[o.rd] = uint64(int16(le.Uint16(p[va&pageMask&^1:])))
				break
			}
			goto slow
		case opLHU:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.load.find(va, 1); p != nil {
				h.x[o.rd] = uint64(le.Uint16(p[va&pageMask&^1:]))
				break
			}
			goto slow
		case opLB:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.load.find(va, 0); p != nil {
				h.x[o.rd] = uint64(int8(p[va&pageMask]))
				break
			}
			goto slow
		case opLBU:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.load.find(va, 0); p != nil {
				h.x[o.rd] = uint64(p[va&pageMask])
				break
			}
			goto slow
		case opSD + compressed:
			step = 1
			fallthrough
		case opSD:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.store.find(va, 7); p != nil {
				le.PutUint64(p[va&pageMask&^7:], h.x[o.rs2])
				break
			}
			goto slow
		case opSW + compressed:
			step = 1
			fallthrough
		case opSW:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.store.find(va, 3); p != nil {
				le.PutUint32(p[va&pageMask&^3:], uint32(h.x[o.rs2]))
				break
			}
			goto slow
		case opSH:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.store.find(va, 1); p != nil {
				le.PutUint16(p[va&pageMask&^1:], uint16(h.x[o.rs2]))
				break
			}
			goto slow
		case opSB:
			va := h.x[o.rs1] + uint64(o.imm)
			if p := h.dataCtx.store.find(va, 0); p != nil {
				p[va&pageMask] = byte(h.x[o.rs2])
				break
			}
			goto slow
		case opFENCE:
			// All accesses happen in program order.
		case opUndecoded, opLeave, opCross:
			return h.leaveAt(pageVA, i, left+1)
		default:
			goto slow
		}
		i += step
		continue
	jumped:
		if i < pageParcels {
			continue
		}
		{
			pc := pageVA + uint64(int64(int32(i))*2)
			pageVA = pc &^ pageMask
			i = uint32(pc & pageMask / 2)
		}
	newPage:
		{
			e := &h.codeCtx.fetch[pageVA>>pageShift%tlbSize]
			if e.tag != pageVA {
				break
			}
			ops = &e.page.ops
			continue
		}
	slow:
		h.left = left
		h.pc = pageVA + uint64(i)*2
		if !h.execSlow(o) {
			return left
		}
		i += uint32(o.len)
	}
	return h.leaveAt(pageVA, i, left)
}
