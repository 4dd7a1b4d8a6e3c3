package riscv

import (
	"fmt"
	"strings"
)

var xNames = [32]string{
	"zero", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
	"a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5", "t6",
}

var fNames = [32]string{
	"ft0", "ft1", "ft2", "ft3", "ft4", "ft5", "ft6", "ft7", "fs0", "fs1", "fa0", "fa1", "fa2", "fa3", "fa4", "fa5",
	"fa6", "fa7", "fs2", "fs3", "fs4", "fs5", "fs6", "fs7", "fs8", "fs9", "fs10", "fs11", "ft8", "ft9", "ft10", "ft11",
}

// dumpedCSRs are those info registers shows, in its order.
var dumpedCSRs = []string{
	"mhartid", "mstatus", "mip", "mie", "mideleg", "medeleg", "mtvec", "stvec", "mepc", "sepc",
	"mcause", "scause", "mtval", "stval", "mscratch", "sscratch", "satp",
}

// csrNumbers has the registers' numbers by name.
var csrNumbers = func() map[string]int {
	m := map[string]int{}
	for n, r := range csrTable {
		if r != nil {
			m[r.name] = n
		}
	}
	return m
}()

// DumpRegisters implements vm.RegisterDumper in the format of QEMU's info registers for a
// hart without the H extension.
func (h *Hart) DumpRegisters() string {
	var b strings.Builder
	fmt.Fprintf(&b, " %-8s %016x\n", "pc", h.pc)
	for _, name := range dumpedCSRs {
		fmt.Fprintf(&b, " %-8s %016x\n", name, csrTable[csrNumbers[name]].read(h))
	}
	dumpFile(&b, "x", xNames[:], h.x[:32])
	dumpFile(&b, "f", fNames[:], h.f[:32])
	return b.String()
}

// dumpFile writes a register file, four to a line.
func dumpFile(b *strings.Builder, letter string, names []string, values []uint64) {
	for i, v := range values {
		fmt.Fprintf(b, " %-8s %016x", fmt.Sprintf("%s%d/%s", letter, i, names[i]), v)
		if i%4 == 3 {
			b.WriteByte('\n')
		}
	}
}

// registerFile has the places of general and floating-point registers by number and by
// ABI name: below 32 those of x, from there on those of f.
var registerFile = func() map[string]int {
	m := map[string]int{"fp": 8}
	for i := range 32 {
		m[xNames[i]], m[fmt.Sprintf("x%d", i)] = i, i
		m[fNames[i]], m[fmt.Sprintf("f%d", i)] = 32+i, 32+i
	}
	return m
}()

// Register implements vm.RegisterDumper: pc, general and floating-point registers by
// number or ABI name, control and status registers by name.
func (h *Hart) Register(name string) (uint64, bool) {
	if name == "pc" {
		return h.pc, true
	}
	if i, ok := registerFile[name]; ok {
		if i < 32 {
			return h.x[i], true
		}
		return h.f[i-32], true
	}
	if n, ok := csrNumbers[name]; ok {
		return csrTable[n].read(h), true
	}
	return 0, false
}

// WordSize implements vm.RegisterDumper.
func (h *Hart) WordSize() int { return 8 }
