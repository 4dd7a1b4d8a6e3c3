package riscv

import (
	"fmt"
	"strings"
)

// Columns of a disassembled line, as QEMU has them.
const (
	hexColumn      = 18
	nameColumn     = 24
	operandsColumn = 24
)

// Disassemble implements vm.Disassembler in QEMU's layout: the bits, the name, the
// operands, and for what is relative to pc the address.
func (h *Hart) Disassemble(addr uint64, code []byte) (string, int) {
	if len(code) < 2 {
		return "", 0
	}
	w, digits := uint32(le.Uint16(code)), 4
	if !isCompressed(w) {
		if len(code) < 4 {
			return "", 0
		}
		w, digits = le.Uint32(code), 8
	}
	name, operands, target := disassemble(addr, w)
	text := fmt.Sprintf("%-*s%-*s%s", hexColumn, fmt.Sprintf("%0*x", digits, w), nameColumn, name, operands)
	if target != "" {
		text = fmt.Sprintf("%-*s# %s", hexColumn+nameColumn+operandsColumn, text, target)
	}
	return text, digits / 2
}

// disassemble gives the parts of an instruction's text.
func disassemble(addr uint64, w uint32) (name, operands, target string) {
	d := operandText{op: decode(w), addr: addr}
	if isCompressed(w) {
		w = expand(uint16(w))
	}
	in := lookup(w)
	if in == nil {
		return "illegal", "", ""
	}
	d.word, d.code = w, in.code
	d.x[0], d.x[1], d.x[2] = xNames[w>>7&31], xNames[w>>15&31], xNames[w>>20&31]
	d.f[0], d.f[1], d.f[2] = fNames[w>>7&31], fNames[w>>15&31], fNames[w>>20&31]
	name, operands = d.simplify(in)
	if name == "" {
		name, operands = qemuName(in.name)+d.suffix(in.format), d.operands(in.format)
	}
	return name, operands, d.target(in)
}

// qemuName is QEMU's name of an instruction: the moves between register files have their
// former ones.
func qemuName(name string) string {
	switch name {
	case "fmv.x.w":
		return "fmv.x.s"
	case "fmv.w.x":
		return "fmv.s.x"
	}
	return name
}

// operandText writes the operands of one instruction.
type operandText struct {
	op
	addr uint64
	word uint32
	x, f [3]string // names of rd, rs1, rs2
}

// suffix is the ordering of atomics.
func (d *operandText) suffix(f format) string {
	if f != fmtLR && f != fmtAMO {
		return ""
	}
	return [...]string{"", ".rl", ".aq", ".aq.rl"}[d.word>>25&3]
}

// offset is the distance of a branch in bytes.
func (d *operandText) offset() int64 { return int64(d.imm) * 2 }

// target is the address that an instruction relative to pc means.
func (d *operandText) target(in *instruction) string {
	switch {
	case in.format == fmtB || in.format == fmtJ:
		return fmt.Sprintf("%#x", d.addr+uint64(d.offset()))
	case in.code == opAUIPC:
		return fmt.Sprintf("%#x", d.addr+uint64(int64(d.imm)))
	}
	return ""
}

// operands writes them by format.
func (d *operandText) operands(f format) string {
	x, fr, imm := d.x, d.f, fmt.Sprint(d.imm)
	switch f {
	case fmtR:
		return commas(x[0], x[1], x[2])
	case fmtI, fmtShift, fmtShiftW:
		return commas(x[0], x[1], imm)
	case fmtLoad:
		if d.code == opJALR {
			return commas(x[0], x[1], imm)
		}
		return commas(x[0], imm+"("+x[1]+")")
	case fmtS:
		return commas(x[2], imm+"("+x[1]+")")
	case fmtB:
		return commas(x[1], x[2], fmt.Sprint(d.offset()))
	case fmtU:
		return commas(x[0], imm)
	case fmtJ:
		return commas(x[0], fmt.Sprint(d.offset()))
	case fmtFence:
		return commas(fenceSet(d.word>>24), fenceSet(d.word>>20))
	case fmtSFence:
		return commas(x[1], x[2])
	case fmtCSR:
		return commas(x[0], csrName(d.word>>20), x[1])
	case fmtCSRI:
		return commas(x[0], csrName(d.word>>20), fmt.Sprint(d.word>>15&31))
	case fmtLR:
		return commas(x[0], "("+x[1]+")")
	case fmtAMO:
		return commas(x[0], x[2], "("+x[1]+")")
	case fmtFLoad:
		return commas(fr[0], imm+"("+x[1]+")")
	case fmtFS:
		return commas(fr[2], imm+"("+x[1]+")")
	}
	return d.floatOperands(f)
}

func (d *operandText) floatOperands(f format) string {
	x, fr, rm := d.x, d.f, roundingNames[d.word>>12&7]
	switch f {
	case fmtFR:
		return commas(fr[0], fr[1], fr[2])
	case fmtFRm:
		return commas(rm, fr[0], fr[1], fr[2])
	case fmtFR4:
		return commas(rm, fr[0], fr[1], fr[2], fNames[d.word>>27])
	case fmtF1:
		return commas(rm, fr[0], fr[1])
	case fmtFCmp:
		return commas(x[0], fr[1], fr[2])
	case fmtFToX:
		return commas(x[0], fr[1])
	case fmtFToXRm:
		return commas(rm, x[0], fr[1])
	case fmtXToF:
		return commas(fr[0], x[1])
	case fmtXToFRm:
		return commas(rm, fr[0], x[1])
	}
	return ""
}

func commas(operands ...string) string { return strings.Join(operands, ",") }

var roundingNames = [8]string{"rne", "rtz", "rdn", "rup", "rmm", "unk", "unk", "dyn"}

// fenceSet names the accesses that a fence orders.
func fenceSet(bits uint32) string {
	var b strings.Builder
	for i, c := range "iorw" {
		if bits>>(3-i)&1 != 0 {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// csrName is the name of a register, its number if it has none.
func csrName(n uint32) string {
	if r := csrTable[n]; r != nil {
		return r.name
	}
	return fmt.Sprintf("0x%03x", n)
}

// simplify gives the shorter form in which QEMU shows an instruction, "" if there is none
// (unprivileged specification, chapter 25).
func (d *operandText) simplify(in *instruction) (name, operands string) {
	x := d.x
	zero0, zero1, zero2 := x[0] == "zero", x[1] == "zero", x[2] == "zero"
	switch c := in.code; {
	case in.format == fmtB:
		return d.simplifyBranch(c)
	case in.format == fmtCSR || in.format == fmtCSRI:
		return d.simplifyCSR(c)
	case c == opADDI && zero0 && zero1 && d.imm == 0:
		return "nop", ""
	case c == opADDI && d.imm == 0:
		return "mv", commas(x[0], x[1])
	case c == opADD && d.len == 1 && zero1: // c.mv
		return "mv", commas(x[0], x[2])
	case c == opXORI && d.imm == -1:
		return "not", commas(x[0], x[1])
	case c == opSUB && zero1:
		return "neg", commas(x[0], x[2])
	case c == opSUBW && zero1:
		return "negw", commas(x[0], x[2])
	case c == opADDIW && d.imm == 0:
		return "sext.w", commas(x[0], x[1])
	case c == opSLTIU && d.imm == 1:
		return "seqz", commas(x[0], x[1])
	case c == opSLTU && zero1:
		return "snez", commas(x[0], x[2])
	case c == opSLT && zero2:
		return "sltz", commas(x[0], x[1])
	case c == opSLT && zero1:
		return "sgtz", commas(x[0], x[2])
	case c == opJAL && zero0:
		return "j", fmt.Sprint(d.offset())
	case c == opJALR && zero0 && x[1] == "ra" && d.imm == 0:
		return "ret", ""
	case c == opJALR && zero0 && d.imm == 0:
		return "jr", x[1]
	case in.format == fmtFR && d.f[1] == d.f[2]:
		return d.simplifySign(in.name)
	}
	return "", ""
}

func (d *operandText) simplifyBranch(c opcode) (name, operands string) {
	a, b, to := d.x[1], d.x[2], fmt.Sprint(d.offset())
	switch c {
	case opBEQ, opBNE:
		if b == "zero" {
			return map[opcode]string{opBEQ: "beqz", opBNE: "bnez"}[c], commas(a, to)
		}
	case opBLT, opBGE:
		if b == "zero" {
			return map[opcode]string{opBLT: "bltz", opBGE: "bgez"}[c], commas(a, to)
		}
		if a == "zero" {
			return map[opcode]string{opBLT: "bgtz", opBGE: "blez"}[c], commas(b, to)
		}
		return map[opcode]string{opBLT: "bgt", opBGE: "ble"}[c], commas(b, a, to)
	case opBLTU, opBGEU:
		return map[opcode]string{opBLTU: "bgtu", opBGEU: "bleu"}[c], commas(b, a, to)
	}
	return "", ""
}

// simplifyCSR names the accesses to counters and floating-point state.
func (d *operandText) simplifyCSR(c opcode) (name, operands string) {
	n := d.word >> 20
	if reader := csrReaders[n]; c == opCSRRS && d.x[1] == "zero" && reader != "" {
		return reader, d.x[0]
	}
	if writer := csrWriters[n]; writer != "" {
		switch c {
		case opCSRRW:
			return writer, commas(d.x[0], d.x[1])
		case opCSRRWI:
			if n != csrFCSR {
				return writer + "i", commas(d.x[0], fmt.Sprint(d.word>>15&31))
			}
		}
	}
	return "", ""
}

var (
	csrReaders = map[uint32]string{
		csrFFLAGS: "frflags", csrFRM: "frrm", csrFCSR: "frcsr", 0xc00: "rdcycle", 0xc01: "rdtime", 0xc02: "rdinstret",
	}
	csrWriters = map[uint32]string{csrFFLAGS: "fsflags", csrFRM: "fsrm", csrFCSR: "fscsr"}
)

// simplifySign names sign injection of a register into itself.
func (d *operandText) simplifySign(name string) (string, string) {
	for _, s := range [...][2]string{{"fsgnj.", "fmv."}, {"fsgnjn.", "fneg."}, {"fsgnjx.", "fabs."}} {
		if rest, ok := strings.CutPrefix(name, s[0]); ok {
			return s[1] + rest, commas(d.f[0], d.f[1])
		}
	}
	return "", ""
}
