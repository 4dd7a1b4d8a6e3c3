package riscv

import (
	"testing"

	"github.com/qmon/qmon/vm"
)

// benchMachine is a hart that runs a loop over an array of 64 doublewords: loads, a mix of arithmetic,
// stores, calls and branches that go either way.
//
//	outer:  mv   a0, s0
//	        li   a1, 64
//	inner:  ld   a2, 0(a0)
//	        slli a3, a2, 13
//	        xor  a2, a2, a3
//	        srli a3, a2, 7
//	        xor  a2, a2, a3
//	        add  a2, a2, a1
//	        sd   a2, 0(a0)
//	        andi a4, a2, 1
//	        beqz a4, even
//	        addi s1, s1, 1
//	even:   lw   a5, 4(a0)
//	        sw   a5, 512(a0)
//	        call leaf
//	        addi a0, a0, 8
//	        addi a1, a1, -1
//	        bnez a1, inner
//	        j    outer
//	leaf:   sub  s2, s2, a2
//	        ret
func benchMachine(b testing.TB) *Hart {
	var mem vm.Memory
	ram, err := mem.AddRAM("ram", 0x80000000, 1<<20)
	if err != nil {
		b.Fatal(err)
	}
	const (
		a0, a1, a2, a3, a4, a5 = 10, 11, 12, 13, 14, 15
		s0, s1, s2, ra         = 8, 9, 18, 1
	)
	program := []uint32{
		encI(0x13, 0, a0, s0, 0),        // outer: mv a0, s0
		encI(0x13, 0, a1, 0, 64),        // li a1, 64
		encI(0x03, 3, a2, a0, 0),        // inner: ld a2, 0(a0)
		encI(0x13, 1, a3, a2, 13),       // slli
		encR(0x33, 4, 0, a2, a2, a3),    // xor
		encI(0x13, 5, a3, a2, 7),        // srli
		encR(0x33, 4, 0, a2, a2, a3),    // xor
		encR(0x33, 0, 0, a2, a2, a1),    // add
		encS(0x23, 3, a0, a2, 0),        // sd a2, 0(a0)
		encI(0x13, 7, a4, a2, 1),        // andi
		encB(0, a4, 0, 8),               // beqz a4, even
		encI(0x13, 0, s1, s1, 1),        // addi
		encI(0x03, 2, a5, a0, 4),        // even: lw
		encS(0x23, 2, a0, a5, 512),      // sw
		encJ(ra, 20),                    // call leaf
		encI(0x13, 0, a0, a0, 8),        // addi
		encI(0x13, 0, a1, a1, -1),       // addi
		encB(1, a1, 0, -60),             // bnez a1, inner
		encJ(0, -72),                    // j outer
		encR(0x33, 0, 0x20, s2, s2, a2), // leaf: sub
		encI(0x67, 0, 0, ra, 0),         // ret
	}
	for i, w := range program {
		le.PutUint32(ram.Data[4*i:], w)
	}
	for i := range 64 {
		le.PutUint64(ram.Data[0x1000+8*i:], uint64(i)*0x9e3779b97f4a7c15)
	}
	h := New(Config{ResetPC: 0x80000000, Memory: &mem})
	h.x[s0] = 0x80001000
	return h
}

// BenchmarkHart measures millions of instructions a second on a loop of arithmetic, loads,
// stores, calls and branches.
func BenchmarkHart(b *testing.B) {
	h := benchMachine(b)
	const slice = 50_000
	for b.Loop() {
		h.Run(slice)
	}
	b.ReportMetric(float64(b.N)*slice/b.Elapsed().Seconds()/1e6, "MIPS")
}
