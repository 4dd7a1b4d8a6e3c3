package riscv

import (
	"testing"

	"github.com/qmon/qmon/vm"
)

// Instructions of the tests below, in terms of the encoders that expand compressed ones.
var (
	insNOP    = encI(0x13, 0, 0, 0, 0)
	insWFI    = uint32(0x10500073)
	insFENCEI = uint32(0x0000100f)
	insLoop   = encJ(0, 0)
)

func addi(rd, rs uint32, imm int32) uint32 { return encI(0x13, 0, rd, rs, imm) }

// put puts a program at an offset of RAM.
func put(ram *vm.Region, off uint64, program ...uint32) {
	for i, w := range program {
		le.PutUint32(ram.Data[off+4*uint64(i):], w)
	}
}

// TestBudgetIsExact runs the benchmark's loop in slices of all sizes: whatever they are,
// the count is exact and the state after the same number of instructions the same.
func TestBudgetIsExact(t *testing.T) {
	const total = 20_000
	whole := benchMachine(t)
	if n, why := whole.Run(total); n != total || why != vm.ExitBudget {
		t.Fatalf("Run(%d) = %d, %d", total, n, why)
	}
	for _, slice := range []int64{1, 2, 3, 7, 64, 4095, 4096, 4097} {
		h := benchMachine(t)
		for left := int64(total); left > 0; {
			want := min(slice, left)
			n, why := h.Run(want)
			if n != want || why != vm.ExitBudget {
				t.Fatalf("Run(%d) = %d, %d", want, n, why)
			}
			left -= n
		}
		if h.pc != whole.pc || h.x != whole.x {
			t.Errorf("slices of %d: pc %#x, in one run %#x", slice, h.pc, whole.pc)
		}
	}
}

// TestRunDoesNotAllocate: neither the fast path nor traps, CSRs and floating point.
func TestRunDoesNotAllocate(t *testing.T) {
	h := benchMachine(t)
	h.Run(10_000)
	if n := testing.AllocsPerRun(10, func() { h.Run(10_000) }); n != 0 {
		t.Errorf("%v allocations in a loop", n)
	}
	traps, ram := newHart(t, 1<<12)
	traps.csrs.mstatus = mstatusFS
	put(ram, 0, 0x30002573, 0x02000053, 0x1005252f, 0xffffffff) // csrr, fadd.d, lr.w, illegal
	traps.csrs.mtvec = ramBase
	traps.Run(100)
	if n := testing.AllocsPerRun(10, func() { traps.Run(1000) }); n != 0 {
		t.Errorf("%v allocations in a loop of traps", n)
	}
}

// TestBudgetOfTraps shows that a hart in an endless loop of traps comes back.
func TestBudgetOfTraps(t *testing.T) {
	h, _ := newHart(t, 1<<12)
	h.pc = 0 // nothing there, nor at mtvec
	if n, why := h.Run(1000); n != 1000 || why != vm.ExitBudget {
		t.Errorf("Run(1000) = %d, %d", n, why)
	}
	if h.csrs.mcause != 1 || h.csrs.mepc != 0 {
		t.Errorf("mcause %d, mepc %#x", h.csrs.mcause, h.csrs.mepc)
	}
}

func TestKick(t *testing.T) {
	h, ram := newHart(t, 1<<12)
	put(ram, 0, insLoop)
	h.Kick()
	h.Kick()
	if n, why := h.Run(100); n != 0 || why != vm.ExitKick {
		t.Errorf("after Kick: Run = %d, %d", n, why)
	}
	if n, why := h.Run(100); n != 100 || why != vm.ExitBudget {
		t.Errorf("after that: Run = %d, %d", n, why)
	}
	go h.Kick() // while it runs
	for {
		if _, why := h.Run(1 << 40); why == vm.ExitKick {
			return
		}
	}
}

// TestWFI shows that the hart sleeps until an interrupt is pending and enabled in mie,
// even if mstatus keeps it from being taken.
func TestWFI(t *testing.T) {
	h, ram := newHart(t, 1<<12)
	put(ram, 0, insWFI, addi(10, 10, 1), insLoop)
	h.csrs.mie = bitMTI
	if n, why := h.Run(10); n != 1 || why != vm.ExitHalt || !h.Halted() {
		t.Fatalf("Run = %d, %d, Halted %t", n, why, h.Halted())
	}
	if n, why := h.Run(10); n != 0 || why != vm.ExitHalt {
		t.Fatalf("while halted: Run = %d, %d", n, why)
	}
	h.SetInterrupt(LineMSIP, true)
	if !h.Halted() {
		t.Error("woken by an interrupt that mie does not enable")
	}
	h.SetInterrupt(LineMTIP, true)
	if h.Halted() {
		t.Error("not woken")
	}
	if n, _ := h.Run(2); n != 2 || h.x[10] != 1 || h.csrs.mcause != 0 {
		t.Errorf("Run = %d, a0 %d, mcause %#x", n, h.x[10], h.csrs.mcause)
	}
}

// TestInterruptPriority raises everything at once, in each mode and with each delegation.
func TestInterruptPriority(t *testing.T) {
	const all = interruptBits
	for _, c := range []struct {
		name             string
		priv             uint8
		mstatus, mideleg uint64
		mip              uint64
		cause            uint64 // 0: none is taken
		to               uint8
	}{
		{"M, MIE off", modeM, 0, 0, all, 0, modeM},
		{"M, MIE on", modeM, mstatusMIE, 0, all, 11, modeM},
		{"M, no MEI", modeM, mstatusMIE, 0, all &^ bitMEI, 3, modeM},
		{"M, no MEI, MSI", modeM, mstatusMIE, 0, all &^ (bitMEI | bitMSI), 7, modeM},
		{"M, supervisor ones", modeM, mstatusMIE, 0, supervisorBits, 9, modeM},
		{"M, no SEI", modeM, mstatusMIE, 0, bitSSI | bitSTI, 1, modeM},
		{"M, STI", modeM, mstatusMIE, 0, bitSTI, 5, modeM},
		{"M never takes delegated ones", modeM, mstatusMIE | mstatusSIE, supervisorBits, supervisorBits, 0, modeM},
		{"S takes M's, MIE or not", modeS, mstatusSIE, supervisorBits, all, 11, modeM},
		{"S, SIE off", modeS, 0, supervisorBits, supervisorBits, 0, modeS},
		{"S, SIE on", modeS, mstatusSIE, supervisorBits, supervisorBits, 9, modeS},
		{"S, delegated below not delegated", modeS, mstatusSIE, bitSEI, bitSEI | bitSTI, 5, modeM},
		{"U takes S's, SIE or not", modeU, 0, supervisorBits, bitSTI | bitSSI, 1, modeS},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _ := newHart(t, 1<<12)
			h.priv, h.csrs.mstatus, h.csrs.mideleg = c.priv, c.mstatus, c.mideleg
			h.csrs.mie, h.csrs.soft, h.csrs.lines = all, c.mip&supervisorBits, c.mip&(lineBits&^bitSEI)
			h.csrs.mtvec, h.csrs.stvec = 0x80000101, 0x80000201 // vectored
			h.takeInterrupt()
			cause, base := h.csrs.mcause, uint64(0x80000100)
			if c.to == modeS {
				cause, base = h.csrs.scause, 0x80000200
			}
			if c.cause == 0 {
				if h.pc != ramBase || cause != 0 {
					t.Fatalf("taken: cause %#x", cause)
				}
				return
			}
			if cause != causeInterrupt|c.cause || h.priv != c.to || h.pc != base+4*c.cause {
				t.Errorf("cause %#x, mode %d, pc %#x", cause, h.priv, h.pc)
			}
		})
	}
}

// TestSoftwareSEIP shows that clearing mip.SEIP by software leaves the line, and that
// read-modify-write does not make the line's level software's.
func TestSoftwareSEIP(t *testing.T) {
	h, ram := newHart(t, 1<<12)
	h.SetInterrupt(LineSEIP, true)
	h.x[10] = bitSSI
	put(ram, 0, csrMIP<<20|10<<15|2<<12|11<<7|0x73) // csrrs a1, mip, a0
	h.Run(1)
	if h.x[11] != bitSEI {
		t.Errorf("mip reads %#x", h.x[11])
	}
	h.SetInterrupt(LineSEIP, false)
	if got := h.csrs.mip(); got != bitSSI {
		t.Errorf("mip %#x after the line fell", got)
	}
}

// TestCounters reads and writes cycle and instret, and stops them.
func TestCounters(t *testing.T) {
	h, ram := newHart(t, 1<<12)
	read := func(csr, rd uint32) uint32 { return csr<<20 | 2<<12 | rd<<7 | 0x73 }
	write := func(csr, rs uint32) uint32 { return csr<<20 | rs<<15 | 1<<12 | 0x73 }
	put(ram, 0, insNOP, insNOP, read(0xb00, 10), write(0xb02, 20), read(0xb02, 11), insNOP, read(0xb02, 12),
		write(0x320, 21), read(0xb00, 13), insNOP, read(0xb00, 14), insLoop)
	h.x[20], h.x[21] = 1000, 1
	h.Run(11)
	if h.x[10] != 2 || h.x[11] != 1000 || h.x[12] != 1002 {
		t.Errorf("cycle %d, instret %d, %d; want 2, 1000, 1002", h.x[10], h.x[11], h.x[12])
	}
	if h.x[13] != h.x[14] {
		t.Errorf("a stopped counter went from %d to %d", h.x[13], h.x[14])
	}
}

// TestTimeHook shows that time comes from the hook, which can ask how far the hart is.
func TestTimeHook(t *testing.T) {
	var mem vm.Memory
	ram, err := mem.AddRAM("ram", ramBase, 1<<12)
	if err != nil {
		t.Fatal(err)
	}
	var h *Hart
	h = New(Config{ResetPC: ramBase, Memory: &mem, Time: func() uint64 { return 100 * uint64(h.Executed()) }})
	put(ram, 0, insNOP, insNOP, 0xc0102573) // rdtime a0
	h.Run(3)
	if h.x[10] != 300 || h.Executed() != 0 {
		t.Errorf("time %d, executed outside of Run %d", h.x[10], h.Executed())
	}
}

// TestInterruptFromDevice raises a line within a store to a device: the next instruction is
// the handler's.
func TestInterruptFromDevice(t *testing.T) {
	var mem vm.Memory
	ram, err := mem.AddRAM("ram", ramBase, 1<<12)
	if err != nil {
		t.Fatal(err)
	}
	var h *Hart
	if _, err := mem.AddIO("dev", 0x1000, 0x1000, writer(func(_, v uint64) { h.SetInterrupt(LineMEIP, v != 0) })); err != nil {
		t.Fatal(err)
	}
	h = New(Config{ResetPC: ramBase, Memory: &mem})
	h.csrs.mtvec, h.csrs.mie, h.csrs.mstatus = ramBase+0x100, bitMEI, mstatusMIE
	h.x[12], h.x[13] = 0x1000, 1
	put(ram, 0, encS(0x23, 2, 12, 13, 0), addi(10, 10, 1), insLoop)
	put(ram, 0x100, insLoop)
	h.Run(10)
	if h.x[10] != 0 || h.csrs.mepc != ramBase+4 || h.csrs.mcause != causeInterrupt|11 {
		t.Errorf("a0 %d, mepc %#x, mcause %#x", h.x[10], h.csrs.mepc, h.csrs.mcause)
	}
}

// TestMisalignedDeviceAccess shows that devices see aligned accesses only.
func TestMisalignedDeviceAccess(t *testing.T) {
	var mem vm.Memory
	ram, err := mem.AddRAM("ram", ramBase, 1<<12)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := mem.AddIO("dev", 0x1000, 0x1000, writer(func(_, _ uint64) { t.Error("written") })); err != nil {
		t.Fatal(err)
	}
	h := New(Config{ResetPC: ramBase, Memory: &mem})
	h.x[12] = 0x1002
	put(ram, 0, encI(0x03, 2, 10, 12, 0), encS(0x23, 2, 12, 13, 0))
	for _, cause := range []uint64{4, 6} {
		pc := h.pc
		h.csrs.mtvec = h.pc + 4
		h.Run(1)
		if h.csrs.mcause != cause || h.csrs.mtval != 0x1002 || h.csrs.mepc != pc {
			t.Errorf("mcause %d, mtval %#x", h.csrs.mcause, h.csrs.mtval)
		}
	}
}

// TestFloatStatus shows that FS off makes floating-point instructions and registers
// illegal, and what makes it dirty.
func TestFloatStatus(t *testing.T) {
	const (
		fsInitial, fsDirty = 1 << fsShift, 3 << fsShift
		fadd               = 0x02000053              // fadd.d f0, f0, f0, rne
		toInt              = 0xc2001553              // fcvt.w.d a0, f0, rtz
		readFlags          = 0x00102573              // frflags a0
		badMode            = 0x02005053              // fadd.d with rounding mode 5
		classify           = 0xe2001553              // fclass.d a0, f0
		half               = uint64(0x3fe0 << 48)    // inexact as an integer
		one                = uint64(0x3ff0000 << 36) // exact
	)
	for _, c := range []struct {
		name    string
		fs      uint64
		ins     uint32
		f0      uint64
		illegal bool
		after   uint64
	}{
		{"off", 0, fadd, one, true, 0},
		{"off, CSR", 0, readFlags, one, true, 0},
		{"result", fsInitial, fadd, one, false, fsDirty},
		{"flags", fsInitial, toInt, half, false, fsDirty},
		{"no flags", fsInitial, toInt, one, false, fsInitial},
		{"CSR read", fsInitial, readFlags, one, false, fsInitial},
		{"integer result", fsInitial, classify, one, false, fsInitial},
		{"rounding mode 5", fsInitial, badMode, one, true, fsInitial},
	} {
		h, ram := newHart(t, 1<<12)
		h.csrs.mstatus, h.f[0] = c.fs, c.f0
		put(ram, 0, c.ins)
		h.Run(1)
		if illegal := h.csrs.mcause == excIllegal; illegal != c.illegal || h.csrs.mstatus&mstatusFS != c.after {
			t.Errorf("%s: illegal %t, mstatus %#x", c.name, illegal, h.csrs.mstatus)
		}
	}
}

// TestStoreToROM passes without effect.
func TestStoreToROM(t *testing.T) {
	var mem vm.Memory
	rom, err := mem.AddROM("rom", 0x1000, 0x1000)
	if err != nil {
		t.Fatal(err)
	}
	h := New(Config{ResetPC: 0x1000, Memory: &mem})
	put(rom, 0, encS(0x23, 3, 12, 13, 0x20), encI(0x03, 3, 10, 12, 0x20))
	h.x[12], h.x[13], h.x[10] = 0x1000, 7, 9
	h.Run(2)
	if h.x[10] != 0 || h.csrs.mcause != 0 {
		t.Errorf("reads %d, mcause %d", h.x[10], h.csrs.mcause)
	}
}

// TestTranslate shows that looking does not set A bits and ignores the PMP.
func TestTranslate(t *testing.T) {
	h, ram := newHart(t, 1<<16)
	buildSv39(ram, 0x8000, map[uint64]uint64{0x1000: 0x3000 | pteV | pteR, 0x2000: 0x4000 | pteV | pteX})
	h.csrs.satp = satpSv39<<satpModeShift | (ramBase+0x8000)>>12
	h.priv = modeS
	for va, want := range map[uint64]uint64{0x1234: ramBase + 0x3234, 0x2ffc: ramBase + 0x4ffc} {
		if pa, ok := h.Translate(va); !ok || pa != want {
			t.Errorf("Translate(%#x) = %#x, %t, want %#x", va, pa, ok, want)
		}
	}
	if _, ok := h.Translate(0x5000); ok {
		t.Error("an unmapped address has been translated")
	}
	if pte := le.Uint64(ram.Data[0xa008:]); pte&pteA != 0 {
		t.Error("A has been set")
	}
	h.priv = modeM
	if pa, ok := h.Translate(0x1234); !ok || pa != 0x1234 {
		t.Errorf("in M mode: %#x, %t", pa, ok)
	}
}

// TestRegisterNames finds registers by all their names.
func TestRegisterNames(t *testing.T) {
	h, _ := newHart(t, 1<<12)
	h.x[8], h.x[31], h.f[10], h.csrs.mscratch = 1, 2, 3, 4
	for name, want := range map[string]uint64{
		"pc": ramBase, "x8": 1, "s0": 1, "fp": 1, "t6": 2, "fa0": 3, "f10": 3, "zero": 0, "mscratch": 4, "misa": misaBits,
	} {
		if got, ok := h.Register(name); !ok || got != want {
			t.Errorf("%s = %#x, %t, want %#x", name, got, ok, want)
		}
	}
	if _, ok := h.Register("x32"); ok {
		t.Error("x32 found")
	}
}

// FuzzHart executes arbitrary memory in all modes: it may trap for ever, but never panics
// and always comes back.
func FuzzHart(f *testing.F) {
	f.Add([]byte{0x13, 0, 0, 0, 0x73, 0, 0, 0}, uint64(0), uint8(3))
	f.Add([]byte{0x73, 0x10, 0x05, 0x18, 0x2f, 0xb5, 0xc5, 0x00, 0x53, 0x75, 0xb5, 0x02}, uint64(8)<<60|0x80000, uint8(1))
	f.Fuzz(func(t *testing.T, code []byte, satp uint64, mode uint8) {
		h, ram := newHart(t, 1<<15)
		copy(ram.Data, code)
		copy(ram.Data[0x1000:], code)
		h.setSATP(satp)
		h.csrs.mtvec, h.csrs.stvec = ramBase, ramBase+0x1000
		h.csrs.mstatus, h.csrs.medeleg, h.csrs.mie = mstatusFS, delegable, interruptBits
		h.pmp.setAddr(0, pmpAddrMask)
		h.pmp.setConfig(0, pmpNAPOT|pmpR|pmpW|pmpX)
		h.priv = [...]uint8{modeU, modeS, modeM}[mode%3]
		for i := range h.x[:32] {
			h.x[i] = ramBase + uint64(i)*0x777
		}
		h.x[0] = 0
		h.updateContext()
		n, why := h.Run(5000)
		if n > 5000 || why == vm.ExitBudget && n != 5000 || why == vm.ExitKick {
			t.Errorf("Run = %d, %d", n, why)
		}
		if h.x[0] != 0 {
			t.Error("x0 is not 0")
		}
		h.Disassemble(h.pc, code)
	})
}
