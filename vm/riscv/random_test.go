package riscv

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
)

// A randomProgram writes the body and the data of testdata/random.S.in. Its instructions
// may use any register but s0 and s1, which point into the data.
type randomProgram struct {
	*rand.Rand
	body  strings.Builder
	label int
}

// randomKinds are the kinds of random programs by name.
var randomKinds = map[string]func(p *randomProgram, n int){
	"int":    (*randomProgram).integers,
	"float":  (*randomProgram).floats,
	"words":  (*randomProgram).words,
	"csr":    (*randomProgram).registers,
	"modes":  (*randomProgram).modes,
	"paging": (*randomProgram).paging,
	"pmp":    (*randomProgram).protection,
	"irq":    (*randomProgram).interrupts,
}

// source gives a program of a kind with n random instructions or so.
func randomSource(frame, kind string, seed uint64, n int) string {
	p := &randomProgram{Rand: rand.New(rand.NewPCG(seed, uint64(len(kind))))}
	randomKinds[kind](p, n)
	data := p.data()
	frame = strings.Replace(frame, "\nBODY\n", "\n"+p.body.String()+"\n", 1)
	return strings.Replace(frame, "\nDATA\n", "\n"+data+"\n", 1)
}

func (p *randomProgram) emit(format string, args ...any) {
	fmt.Fprintf(&p.body, "\t"+format+"\n", args...)
}

func pick[T any](p *randomProgram, from ...T) T { return from[p.IntN(len(from))] }

// reg is a register that may be written.
func (p *randomProgram) reg() string {
	for {
		if n := p.IntN(32); n != 8 && n != 9 {
			return fmt.Sprintf("x%d", n)
		}
	}
}

// src is a register to be read.
func (p *randomProgram) src() string { return fmt.Sprintf("x%d", p.IntN(32)) }

func (p *randomProgram) freg() string { return fmt.Sprintf("f%d", p.IntN(32)) }

// value is a 64-bit number, often a special one.
func (p *randomProgram) value() uint64 {
	switch p.IntN(5) {
	case 0:
		return pick[uint64](p, 0, 1, ^uint64(0), 1<<63, 1<<63-1, 1<<31, 1<<31-1, 1<<32-1, 1<<32, ^uint64(1<<31-1))
	case 1:
		return uint64(int64(int32(p.Uint32())))
	case 2:
		return p.Uint64() >> p.UintN(64)
	}
	return p.Uint64()
}

// double is the bits of a double, often special or close to a special one.
func (p *randomProgram) double() uint64 {
	switch p.IntN(6) {
	case 0:
		return pick[uint64](p, 0, 1<<63, 0x7ff0000000000000, 0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
			1, 1<<63|1, 0x000fffffffffffff, 0x0010000000000000, 0x7fefffffffffffff, 0xffefffffffffffff)
	case 1:
		return math.Float64bits(float64(p.IntN(2000)-1000) / 4)
	case 2:
		return uint64(p.single()) | boxed
	case 3: // near the limits of the integers
		return math.Float64bits(pick(p, 1.0, -1) * (math.Ldexp(1, pick(p, 31, 32, 63, 64)) + float64(p.IntN(5)-2)))
	case 4: // exponents near those of 1, so that sums are interesting
		return p.Uint64()&^(0x7f<<56) | 0x3f<<56
	}
	return p.Uint64()
}

func (p *randomProgram) single() uint32 {
	switch p.IntN(4) {
	case 0:
		return pick[uint32](p, 0, 1<<31, 0x7f800000, 0xff800000, 0x7fc00000, 0x7f800001, 1, 1<<31|1, 0x007fffff,
			0x00800000, 0x7f7fffff, 0xff7fffff, 0x3f800000, 0x4f000000, 0x5f000000, 0xcf000000)
	case 1:
		return math.Float32bits(float32(p.IntN(2000)-1000) / 4)
	case 2:
		return p.Uint32()&^(0x7e<<24) | 0x3e<<24
	}
	return p.Uint32()
}

// data is the initial values of registers and memory, and the page tables.
func (p *randomProgram) data() string {
	var b strings.Builder
	dwords := func(label string, n int, value func() uint64) {
		fmt.Fprintf(&b, "%s:\n", label)
		for range n {
			fmt.Fprintf(&b, "\t.dword\t%#x\n", value())
		}
	}
	dwords("data", 512, p.Uint64)
	b.WriteString("more:\t.zero 4096\n")
	dwords("root", 4, func() uint64 { return 0 })
	b.WriteString("\t.zero 4064\nroot4:\t.zero 4096\nl1:\t.zero 4096\nl0:\t.zero 4096\n")
	b.WriteString("window:\n")
	for range windowPages { // a return at 0xff0 for fetches
		b.WriteString("\t.zero 0xff0\n\t.half 0x8082, 0x8082, 0x8082, 0x8082, 0x8082, 0x8082, 0x8082, 0x8082\n")
	}
	b.WriteString("dump_more:\n")
	dwords("xinit", 32, p.value)
	dwords("finit", 32, p.double)
	return b.String()
}

// integers is arithmetic, loads, stores, atomics and short branches.
func (p *randomProgram) integers(n int) {
	for range n {
		switch p.IntN(10) {
		case 0, 1, 2:
			p.registerOp()
		case 3, 4:
			p.immediateOp()
		case 5, 6:
			p.memoryOp("s0", p.IntN(4000)-2000)
		case 7:
			p.atomicOp("s0")
		case 8:
			p.forward()
		case 9:
			p.emit("%s %s, %#x", pick(p, "lui", "auipc"), p.reg(), p.IntN(1<<20))
		}
	}
}

func (p *randomProgram) registerOp() {
	name := pick(p, "add", "sub", "sll", "slt", "sltu", "xor", "srl", "sra", "or", "and", "addw", "subw", "sllw",
		"srlw", "sraw", "mul", "mulh", "mulhsu", "mulhu", "div", "divu", "rem", "remu", "mulw", "divw", "divuw",
		"remw", "remuw")
	rd := p.reg()
	p.emit("%s %s, %s, %s", name, rd, pick(p, rd, p.src()), p.src())
}

func (p *randomProgram) immediateOp() {
	rd := p.reg()
	rs := pick(p, rd, p.src(), "x2")
	switch p.IntN(4) {
	case 0:
		p.emit("%s %s, %s, %d", pick(p, "slli", "srli", "srai"), rd, rs, p.IntN(64))
	case 1:
		p.emit("%s %s, %s, %d", pick(p, "slliw", "srliw", "sraiw"), rd, rs, p.IntN(32))
	default:
		p.emit("%s %s, %s, %d", pick(p, "addi", "addiw", "slti", "sltiu", "xori", "ori", "andi"), rd, rs,
			pick(p, p.IntN(64)-32, p.IntN(4096)-2048))
	}
}

// memoryOp is a load or store, aligned or not.
func (p *randomProgram) memoryOp(base string, off int) {
	switch p.IntN(10) {
	case 0, 1, 2, 3:
		p.emit("%s %s, %d(%s)", pick(p, "sb", "sh", "sw", "sd"), p.src(), off, base)
	case 4:
		p.emit("%s %s, %d(%s)", pick(p, "fld", "flw", "fsd", "fsw"), p.freg(), off, base)
	default:
		p.emit("%s %s, %d(%s)", pick(p, "lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"), p.reg(), off, base)
	}
}

// atomicOp is an AMO or LR and SC; the address is in base.
func (p *randomProgram) atomicOp(base string) {
	w := pick(p, "w", "d")
	if p.IntN(4) == 0 {
		p.emit("lr.%s %s, (%s)", w, p.reg(), base)
		if p.IntN(3) == 0 {
			p.emit("sd %s, %d(s0)", p.src(), p.IntN(4)*8)
		}
		p.emit("sc.%s %s, %s, (%s)", w, p.reg(), p.src(), base)
		return
	}
	p.amo(w, base)
}

func (p *randomProgram) amo(w, base string) {
	p.emit("%s.%s %s, %s, (%s)", pick(p, "amoswap", "amoadd", "amoxor", "amoand", "amoor", "amomin", "amomax",
		"amominu", "amomaxu"), w, p.reg(), p.src(), base)
}

// forward branches over a few instructions, or calls over them, or goes back a few times.
func (p *randomProgram) forward() {
	p.label++
	l := p.label
	switch p.IntN(4) {
	case 0:
		p.emit("jal %s, .L%d", p.reg(), l)
	case 1:
		p.emit("lla x5, .L%d", l)
		p.emit("jalr %s, %d(x5)", p.reg(), p.IntN(2)) // bit 0 of the target is ignored
	default:
		p.emit("%s %s, %s, .L%d", pick(p, "beq", "bne", "blt", "bge", "bltu", "bgeu"), p.src(), pick(p, p.src(), "x0"), l)
	}
	for range p.IntN(4) {
		p.registerOp()
	}
	fmt.Fprintf(&p.body, ".L%d:\n", l)
	if p.IntN(4) == 0 {
		p.emit("li s1, %d", 1+p.IntN(5))
		fmt.Fprintf(&p.body, ".Lback%d:\n", l)
		p.registerOp()
		p.memoryOp("s0", p.IntN(2000))
		p.emit("addi s1, s1, -1")
		p.emit("bnez s1, .Lback%d", l)
		p.emit("mv s1, s0")
	}
}

// floats is floating point in all rounding modes, flags read often.
func (p *randomProgram) floats(n int) {
	for range n {
		p.floatOp()
		switch p.IntN(8) {
		case 0, 1:
			p.emit("fsflags %s, x0", p.reg())
		case 2:
			p.emit("fsrmi %s, %d", p.reg(), pick(p, 0, 1, 2, 3, 4, 0, 1, 2, 3, 4, 5, 7))
		case 3:
			p.emit("li x5, %#x", p.double())
			p.emit("fmv.d.x %s, x5", p.freg())
		case 4:
			p.emit("li x5, %#x", p.value())
			p.emit("fcvt.%s.%s %s, x5", pick(p, "s", "d"), pick(p, "l", "lu", "w", "wu"), p.freg())
		}
	}
}

func (p *randomProgram) floatOp() {
	w := pick(p, "s", "d")
	rm := pick(p, "", "", ", rne", ", rtz", ", rdn", ", rup", ", rmm")
	switch p.IntN(9) {
	case 0, 1, 2:
		p.emit("%s.%s %s, %s, %s%s", pick(p, "fadd", "fsub", "fmul", "fdiv"), w, p.freg(), p.freg(), p.freg(), rm)
	case 3:
		p.emit("fsqrt.%s %s, %s%s", w, p.freg(), p.freg(), rm)
	case 4:
		p.emit("%s.%s %s, %s, %s, %s%s", pick(p, "fmadd", "fmsub", "fnmadd", "fnmsub"), w, p.freg(), p.freg(), p.freg(),
			p.freg(), rm)
	case 5:
		p.emit("%s.%s %s, %s, %s", pick(p, "fsgnj", "fsgnjn", "fsgnjx", "fmin", "fmax"), w, p.freg(), p.freg(), p.freg())
	case 6:
		p.emit("%s.%s %s, %s, %s", pick(p, "feq", "flt", "fle"), w, p.reg(), p.freg(), p.freg())
	case 7:
		p.emit("fcvt.%s.%s %s, %s%s", pick(p, "w", "wu", "l", "lu"), w, p.reg(), p.freg(), rm)
	case 8:
		switch p.IntN(4) {
		case 0:
			p.emit("fclass.%s %s, %s", w, p.reg(), p.freg())
		case 1:
			p.emit("fmv.x.%s %s, %s", pick(p, "w", "d"), p.reg(), p.freg())
		case 2:
			p.emit("fcvt.s.d %s, %s%s", p.freg(), p.freg(), rm)
		case 3:
			p.emit("fcvt.d.s %s, %s", p.freg(), p.freg())
		}
	}
}

// words is random instruction words: whatever does not touch memory, pc, modes or the
// reserved registers; those that are illegal must trap.
func (p *randomProgram) words(n int) {
	for range n * 4 {
		w := p.Uint32() | 3
		if p.IntN(2) == 0 {
			w = w&^0x7f | pick[uint32](p, 0x13, 0x1b, 0x33, 0x3b, 0x53, 0x43, 0x0f, 0x2f, 0x73, 0x07)
		}
		if p.IntN(3) == 0 {
			w &= 0xffff
			if !isCompressed(w) {
				w &^= 1
			}
		}
		if o := decode(w); !harmless(&o) {
			continue
		}
		if isCompressed(w) {
			p.emit(".half %#x", w&0xffff)
			continue
		}
		p.emit(".half %#x, %#x", w&0xffff, w>>16)
	}
}

// harmless tells if an instruction only computes on registers, or traps.
func harmless(o *op) bool {
	switch c := o.code; {
	case c == opIllegal:
		return true
	case c == opJAL || c == opJALR || c >= opBEQ && c <= opSD && c != opAUIPC:
		return false
	case c >= opFENCEI && c < opFLW, c == opFLW, c == opFSW, c == opFLD, c == opFSD:
		return false
	case c < opFLW || c >= opFLES && c <= opFCLASSS || c >= opFLED && c <= opFCLASSD:
		return o.rd != 8 && o.rd != 9
	}
	return true
}

// registers accesses CSRs by number, those that are there and others.
func (p *randomProgram) registers(n int) {
	there := []string{
		"fflags", "frm", "fcsr", "sscratch", "sepc", "scause", "stval", "mepc", "mcause", "mtval", "mscratch_",
		"medeleg", "mideleg", "mie", "sie", "sip", "mcounteren", "scounteren", "satp", "pmpaddr3", "pmpcfg0",
	}
	for range n {
		name := pick(p, there...)
		switch name {
		case "mscratch_": // the trap handler's own
			p.emit("csrr x0, mscratch")
			continue
		case "satp": // unsupported modes and bare only: M mode does not mind
			p.emit("li x5, %#x", p.Uint64()&^(2<<satpModeShift)) // QEMU has Sv57, mode 10
			p.emit("csrw satp, x5")
			p.emit("csrr %s, satp", p.reg())
			continue
		case "medeleg", "mie", "mideleg", "sie", "sip", "pmpcfg0":
			p.emit("li x5, %#x", p.Uint64()&safeBits[name])
			p.emit("%s %s, %s, x5", pick(p, "csrrw", "csrrs", "csrrc"), p.reg(), name)
			continue
		case "sepc", "mepc", "pmpaddr3", "mcounteren", "scounteren": // QEMU keeps bits that are to be 0
			p.emit("li x5, %#x", p.Uint64()>>32&^1)
			p.emit("csrrw %s, %s, x5", p.reg(), name)
			continue
		}
		switch p.IntN(3) {
		case 0:
			p.emit("%s %s, %s, %d", pick(p, "csrrwi", "csrrsi", "csrrci"), p.reg(), name, p.IntN(32))
		default:
			p.emit("%s %s, %s, %s", pick(p, "csrrw", "csrrs", "csrrc"), p.reg(), name, p.src())
		}
	}
}

// safeBits are those that both sides hold and that leave the program running.
var safeBits = map[string]uint64{
	"medeleg": 0xb1ff, "mie": 0xaaa, "mideleg": 0x222, "sie": 0x222, "sip": 0x2, "pmpcfg0": 0x0505050505050505,
}
