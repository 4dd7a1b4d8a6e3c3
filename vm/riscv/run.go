package riscv

import "github.com/qmon/qmon/vm"

// kickInterval is how many instructions run between two looks at Kick: some microseconds.
const kickInterval = 4096

// Run implements vm.CPU.
func (h *Hart) Run(budget int64) (int64, vm.Exit) {
	h.budget, h.left = budget, budget
	why := h.run()
	n := budget - h.left
	h.executed += n
	h.budget, h.left = 0, 0
	return n, why
}

// run executes until the budget in left is used up.
func (h *Hart) run() vm.Exit {
	for h.left > 0 {
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
		h.left = h.runOps(h.left)
	}
	return vm.ExitBudget
}

// trapAt enters the trap that has been raised by the op at parcel i of a page.
func (h *Hart) trapAt(page uint64, i uint32, left int64) int64 {
	h.pc = page + uint64(i)*2
	h.left = left
	h.takeException()
	return left
}

// leaveAt leaves the run loop with parcel i of a page as the next to be executed.
func (h *Hart) leaveAt(page uint64, i uint32, left int64) int64 {
	h.pc = page + uint64(i)*2
	return left
}

// runOps executes from pc on until something has happened that the caller must look at: a
// trap, a change of CSRs, a level of an interrupt line, the end of the budget or of
// kickInterval. It returns what is left of the budget.
//
// The present instruction is op i of page, at address pageVA + 2*i; pc itself is up to date
// only outside. This is the one hot function: it is long because a case per instruction
// in one switch is what the compiler turns into a single jump through a table.
func (h *Hart) runOps(left int64) int64 {
	var (
		x      = &h.x
		loads  = &h.dataCtx.load
		stores = &h.dataCtx.store
		pageVA = h.pc &^ pageMask
		i      = uint32(h.pc & pageMask / 2)
		stop   = max(left-kickInterval, 0)
		page   = h.lookup(h.pc)
		o      *op
	)
	if page == nil {
		return h.trapAt(pageVA, i, left-1)
	}
	for left > stop {
		o = &page.ops[i]
		left--
		switch o.code {
		case opADDI:
			x[o.rd] = x[o.rs1] + uint64(o.imm)
		case opSLTI:
			x[o.rd] = bit(int64(x[o.rs1]) < int64(uint64(o.imm)))
		case opSLTIU:
			x[o.rd] = bit(x[o.rs1] < uint64(o.imm))
		case opXORI:
			x[o.rd] = x[o.rs1] ^ uint64(o.imm)
		case opORI:
			x[o.rd] = x[o.rs1] | uint64(o.imm)
		case opANDI:
			x[o.rd] = x[o.rs1] & uint64(o.imm)
		case opSLLI:
			x[o.rd] = x[o.rs1] << (uint64(o.imm) & 63)
		case opSRLI:
			x[o.rd] = x[o.rs1] >> (uint64(o.imm) & 63)
		case opSRAI:
			x[o.rd] = uint64(int64(x[o.rs1]) >> (uint64(o.imm) & 63))
		case opADDIW:
			x[o.rd] = word(x[o.rs1] + uint64(o.imm))
		case opSLLIW:
			x[o.rd] = word(x[o.rs1] << (uint64(o.imm) & 31))
		case opSRLIW:
			x[o.rd] = word(uint64(uint32(x[o.rs1]) >> (uint64(o.imm) & 31)))
		case opSRAIW:
			x[o.rd] = uint64(int64(int32(x[o.rs1]) >> (uint64(o.imm) & 31)))
		case opADD:
			x[o.rd] = x[o.rs1] + x[o.rs2]
		case opSUB:
			x[o.rd] = x[o.rs1] - x[o.rs2]
		case opSLL:
			x[o.rd] = x[o.rs1] << (x[o.rs2] & 63)
		case opSLT:
			x[o.rd] = bit(int64(x[o.rs1]) < int64(x[o.rs2]))
		case opSLTU:
			x[o.rd] = bit(x[o.rs1] < x[o.rs2])
		case opXOR:
			x[o.rd] = x[o.rs1] ^ x[o.rs2]
		case opSRL:
			x[o.rd] = x[o.rs1] >> (x[o.rs2] & 63)
		case opSRA:
			x[o.rd] = uint64(int64(x[o.rs1]) >> (x[o.rs2] & 63))
		case opOR:
			x[o.rd] = x[o.rs1] | x[o.rs2]
		case opAND:
			x[o.rd] = x[o.rs1] & x[o.rs2]
		case opADDW:
			x[o.rd] = word(x[o.rs1] + x[o.rs2])
		case opSUBW:
			x[o.rd] = word(x[o.rs1] - x[o.rs2])
		case opSLLW:
			x[o.rd] = word(x[o.rs1] << (x[o.rs2] & 31))
		case opSRLW:
			x[o.rd] = word(uint64(uint32(x[o.rs1]) >> (x[o.rs2] & 31)))
		case opSRAW:
			x[o.rd] = uint64(int64(int32(x[o.rs1]) >> (x[o.rs2] & 31)))
		case opMUL:
			x[o.rd] = x[o.rs1] * x[o.rs2]
		case opMULH:
			x[o.rd] = mulh(x[o.rs1], x[o.rs2])
		case opMULHSU:
			x[o.rd] = mulhsu(x[o.rs1], x[o.rs2])
		case opMULHU:
			x[o.rd] = mulhu(x[o.rs1], x[o.rs2])
		case opDIV:
			x[o.rd] = div(int64(x[o.rs1]), int64(x[o.rs2]))
		case opDIVU:
			x[o.rd] = divu(x[o.rs1], x[o.rs2])
		case opREM:
			x[o.rd] = rem(int64(x[o.rs1]), int64(x[o.rs2]))
		case opREMU:
			x[o.rd] = remu(x[o.rs1], x[o.rs2])
		case opMULW:
			x[o.rd] = word(x[o.rs1] * x[o.rs2])
		case opDIVW:
			x[o.rd] = divw(x[o.rs1], x[o.rs2])
		case opDIVUW:
			x[o.rd] = divuw(x[o.rs1], x[o.rs2])
		case opREMW:
			x[o.rd] = remw(x[o.rs1], x[o.rs2])
		case opREMUW:
			x[o.rd] = remuw(x[o.rs1], x[o.rs2])
		case opLUI:
			x[o.rd] = uint64(o.imm)
		case opAUIPC:
			x[o.rd] = pageVA + uint64(i)*2 + uint64(o.imm)
		case opBEQ:
			if x[o.rs1] == x[o.rs2] {
				i += uint32(o.imm)
				goto jumped
			}
		case opBNE:
			if x[o.rs1] != x[o.rs2] {
				i += uint32(o.imm)
				goto jumped
			}
		case opBLT:
			if int64(x[o.rs1]) < int64(x[o.rs2]) {
				i += uint32(o.imm)
				goto jumped
			}
		case opBGE:
			if int64(x[o.rs1]) >= int64(x[o.rs2]) {
				i += uint32(o.imm)
				goto jumped
			}
		case opBLTU:
			if x[o.rs1] < x[o.rs2] {
				i += uint32(o.imm)
				goto jumped
			}
		case opBGEU:
			if x[o.rs1] >= x[o.rs2] {
				i += uint32(o.imm)
				goto jumped
			}
		case opJAL:
			x[o.rd] = pageVA + uint64(i)*2 + uint64(o.len)*2
			i += uint32(o.imm)
			goto jumped
		case opJALR:
			pc := (x[o.rs1] + uint64(o.imm)) &^ 1
			x[o.rd] = pageVA + uint64(i)*2 + uint64(o.len)*2
			i = uint32(pc & pageMask / 2)
			if pc&^pageMask == pageVA {
				continue
			}
			pageVA = pc &^ pageMask
			goto newPage
		case opLD:
			va := x[o.rs1] + uint64(o.imm)
			if p := loads.find(va, 7); p != nil {
				x[o.rd] = le.Uint64(p[va&pageMask&^7:])
				break
			}
			h.left = left
			v, ok := h.load(va, 8)
			if !ok {
				return h.trapAt(pageVA, i, left)
			}
			x[o.rd] = v
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opLW:
			va := x[o.rs1] + uint64(o.imm)
			if p := loads.find(va, 3); p != nil {
				x[o.rd] = uint64(int32(le.Uint32(p[va&pageMask&^3:])))
				break
			}
			h.left = left
			v, ok := h.load(va, 4)
			if !ok {
				return h.trapAt(pageVA, i, left)
			}
			x[o.rd] = uint64(int32(v))
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opLWU:
			va := x[o.rs1] + uint64(o.imm)
			if p := loads.find(va, 3); p != nil {
				x[o.rd] = uint64(le.Uint32(p[va&pageMask&^3:]))
				break
			}
			h.left = left
			v, ok := h.load(va, 4)
			if !ok {
				return h.trapAt(pageVA, i, left)
			}
			x[o.rd] = v
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opLH:
			va := x[o.rs1] + uint64(o.imm)
			if p := loads.find(va, 1); p != nil {
				x[o.rd] = uint64(int16(le.Uint16(p[va&pageMask&^1:])))
				break
			}
			h.left = left
			v, ok := h.load(va, 2)
			if !ok {
				return h.trapAt(pageVA, i, left)
			}
			x[o.rd] = uint64(int16(v))
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opLHU:
			va := x[o.rs1] + uint64(o.imm)
			if p := loads.find(va, 1); p != nil {
				x[o.rd] = uint64(le.Uint16(p[va&pageMask&^1:]))
				break
			}
			h.left = left
			v, ok := h.load(va, 2)
			if !ok {
				return h.trapAt(pageVA, i, left)
			}
			x[o.rd] = v
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opLB:
			va := x[o.rs1] + uint64(o.imm)
			if p := loads.find(va, 0); p != nil {
				x[o.rd] = uint64(int8(p[va&pageMask]))
				break
			}
			h.left = left
			v, ok := h.load(va, 1)
			if !ok {
				return h.trapAt(pageVA, i, left)
			}
			x[o.rd] = uint64(int8(v))
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opLBU:
			va := x[o.rs1] + uint64(o.imm)
			if p := loads.find(va, 0); p != nil {
				x[o.rd] = uint64(p[va&pageMask])
				break
			}
			h.left = left
			v, ok := h.load(va, 1)
			if !ok {
				return h.trapAt(pageVA, i, left)
			}
			x[o.rd] = v
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opSD:
			va := x[o.rs1] + uint64(o.imm)
			if p := stores.find(va, 7); p != nil {
				le.PutUint64(p[va&pageMask&^7:], x[o.rs2])
				break
			}
			h.left = left
			if !h.store(va, 8, x[o.rs2]) {
				return h.trapAt(pageVA, i, left)
			}
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opSW:
			va := x[o.rs1] + uint64(o.imm)
			if p := stores.find(va, 3); p != nil {
				le.PutUint32(p[va&pageMask&^3:], uint32(x[o.rs2]))
				break
			}
			h.left = left
			if !h.store(va, 4, x[o.rs2]) {
				return h.trapAt(pageVA, i, left)
			}
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opSH:
			va := x[o.rs1] + uint64(o.imm)
			if p := stores.find(va, 1); p != nil {
				le.PutUint16(p[va&pageMask&^1:], uint16(x[o.rs2]))
				break
			}
			h.left = left
			if !h.store(va, 2, x[o.rs2]) {
				return h.trapAt(pageVA, i, left)
			}
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opSB:
			va := x[o.rs1] + uint64(o.imm)
			if p := stores.find(va, 0); p != nil {
				p[va&pageMask] = byte(x[o.rs2])
				break
			}
			h.left = left
			if !h.store(va, 1, x[o.rs2]) {
				return h.trapAt(pageVA, i, left)
			}
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		case opFENCE:
			// All accesses happen in program order.
		case opUndecoded:
			left++
			h.code.decode(page, i)
			continue
		case opLeave:
			left++
			goto jumped
		case opCross:
			left++
			if page = h.lookupSingle(pageVA + uint64(i)*2); page == nil {
				return h.trapAt(pageVA, i, left-1)
			}
			continue
		default:
			if o.code < firstSystem {
				h.exception = trapInfo{excIllegal, uint64(o.raw)}
				return h.trapAt(pageVA, i, left)
			}
			h.left = left
			if o.code <= lastSystem {
				h.pc = pageVA + uint64(i)*2
				if !h.execSystem(o) {
					h.takeException()
				}
				return left
			}
			if !h.execOther(o) {
				return h.trapAt(pageVA, i, left)
			}
			if h.recheck {
				return h.leaveAt(pageVA, i+uint32(o.len), left)
			}
		}
		i += uint32(o.len)
		continue
	jumped:
		if i < pageParcels && o.code != opLeave {
			continue
		}
		{
			pc := pageVA + uint64(int64(int32(i))*2)
			pageVA = pc &^ pageMask
			i = uint32(pc & pageMask / 2)
		}
	newPage:
		if left == stop {
			break
		}
		if page = h.lookup(pageVA + uint64(i)*2); page == nil {
			return h.trapAt(pageVA, i, left-1)
		}
	}
	return h.leaveAt(pageVA, i, left)
}
