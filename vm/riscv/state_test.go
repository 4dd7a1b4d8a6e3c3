package riscv

import (
	"encoding/hex"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
)

func newHart(t testing.TB, ramSize uint64) (*Hart, *vm.Region) {
	t.Helper()
	var mem vm.Memory
	ram, err := mem.AddRAM("ram", ramBase, ramSize)
	if err != nil {
		t.Fatal(err)
	}
	return New(Config{ResetPC: ramBase, Memory: &mem}), ram
}

const ramBase = 0x80000000

// TestStateOfReset compares the section of a hart after reset with the one that QEMU 7.2
// saved with -S: see testdata/README.
func TestStateOfReset(t *testing.T) {
	text, err := os.ReadFile("testdata/cpu-v5-reset.hex")
	if err != nil {
		t.Fatal(err)
	}
	qemu, err := hex.DecodeString(strings.Join(strings.Fields(string(text)), ""))
	if err != nil {
		t.Fatal(err)
	}
	h, _ := newHart(t, 1<<20)
	s := hartState{h}
	want, got := s.New().(*hartFields), s.New().(*hartFields)
	if err := vmstate.Unmarshal(qemu, "cpu", 5, want); err != nil {
		t.Fatal(err)
	}
	saved, err := s.Save()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := vmstate.Marshal("cpu", 5, saved)
	if err != nil {
		t.Fatal(err)
	}
	if len(ours) != len(qemu) {
		t.Errorf("section has %d bytes, QEMU's %d", len(ours), len(qemu))
	}
	if err := vmstate.Unmarshal(ours, "cpu", 5, got); err != nil {
		t.Fatal(err)
	}
	// QEMU's hart has H, starts in the ROM, and its timer line is up.
	const misaH = 1 << 7
	want.MisaExt &^= misaH
	want.MisaExtMask &^= misaH
	want.ResetVec, want.PC, want.MIP = ramBase, ramBase, 0
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("fields (-QEMU +ours):\n%s", diff)
	}
	if err := s.Check(want, 5); err != nil {
		t.Errorf("QEMU's state is refused: %v", err)
	}
}

// TestStateRoundTrip sets everything a stream holds and finds it in another hart.
func TestStateRoundTrip(t *testing.T) {
	h, _ := newHart(t, 1<<20)
	for i := 1; i < 32; i++ {
		h.x[i], h.f[i] = uint64(i)*0x0101010101, ^uint64(i)
	}
	h.f[0] = 5
	h.pc, h.priv, h.halted = 0x80001234, modeS, true
	h.reserved = reservation{true, 0x80000100, 7}
	h.csrs = csrState{
		mstatus: mstatusFS | mstatusSUM | mstatusMPP | mstatusSPIE,
		mtvec:   0x80000101, stvec: 0x80000200, mepc: 2, sepc: 4, mcause: 8, scause: 9, mtval: 10,
		stval: 11, mscratch: 12, sscratch: 13, medeleg: 0xb109, mideleg: 0x222, mie: 0xaaa,
		soft: bitSEI | bitSSI, lines: bitMTI | bitMEI, satp: 8<<60 | 0x80001, mcounteren: 7,
		scounteren: 3, menvcfg: 1, senvcfg: 1, fflags: 0x15, frm: 3,
		cycle: counter{offset: 1000, held: 1000}, instret: counter{stopped: true, offset: 77, held: 77},
	}
	h.pmp.setAddr(0, 1<<54-1)
	h.pmp.setConfig(0, pmpNAPOT|pmpR|pmpW|pmpX|pmpL)

	other, _ := newHart(t, 1<<20)
	from, to := h.States(), other.States()
	for i := range from {
		name, version := from[i].Section().Name, from[i].Section().Version
		saved, err := from[i].Save()
		if err != nil {
			t.Fatal(err)
		}
		stream, err := vmstate.Marshal(name, version, saved)
		if err != nil {
			t.Fatal(err)
		}
		fields := to[i].New()
		if err := vmstate.Unmarshal(stream, name, version, fields); err != nil {
			t.Fatal(err)
		}
		if err := to[i].Check(fields, version); err != nil {
			t.Fatal(err)
		}
		if err := to[i].Load(fields, version); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(h.csrs, other.csrs, cmp.AllowUnexported(csrState{}, counter{})); diff != "" {
		t.Errorf("csrs (-saved +loaded):\n%s", diff)
	}
	if h.pmp != other.pmp || h.reserved != other.reserved || h.halted != other.halted {
		t.Error("pmp, reservation or halted differ")
	}
	if h.x != other.x || h.f != other.f || h.pc != other.pc || h.priv != other.priv {
		t.Error("registers, pc or mode differ")
	}
}

// TestStateRefused shows what Check does not let pass.
func TestStateRefused(t *testing.T) {
	h, _ := newHart(t, 1<<20)
	for name, change := range map[string]func(*hartFields){
		"virtual machine": func(f *hartFields) { f.Virt = 1 },
		"mode 2":          func(f *hartFields) { f.Priv = 2 },
		"mode 7":          func(f *hartFields) { f.Priv = 7 },
		"32 bits":         func(f *hartFields) { f.MisaMXL = 1 },
		"no D":            func(f *hartFields) { f.MisaExt &^= 1 << 3 },
		"vector in use":   func(f *hartFields) { f.MisaExt |= misaV; f.MStatus |= mstatusVS },
		"Sv57":            func(f *hartFields) { f.SATP = 10 << satpModeShift },
		"other hart":      func(f *hartFields) { f.HartID = 1 },
		"Sstc timer":      func(f *hartFields) { f.EnvCfg.MEnvCfg = envcfgSTCE; f.MIE = bitSTI },
		"no PMP":          func(f *hartFields) { f.PMP = nil },
		"PMP -W-":         func(f *hartFields) { f.PMP.Entries[3].Cfg = pmpW },
	} {
		t.Run(name, func(t *testing.T) {
			saved, err := hartState{h}.Save()
			if err != nil {
				t.Fatal(err)
			}
			f := saved.(*hartFields)
			change(f)
			if (hartState{h}).Check(f, 5) == nil {
				t.Error("accepted")
			}
		})
	}
}

// FuzzState has streams with anything in them loaded: what Check accepts can be loaded,
// executed and saved.
func FuzzState(f *testing.F) {
	h, _ := newHart(f, 1<<12)
	saved, err := hartState{h}.Save()
	if err != nil {
		f.Fatal(err)
	}
	stream, err := vmstate.Marshal("cpu", 5, saved)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(stream)
	f.Fuzz(func(t *testing.T, data []byte) {
		h, _ := newHart(t, 1<<12)
		s := hartState{h}
		fields := s.New()
		if vmstate.Unmarshal(data, "cpu", 5, fields) != nil || s.Check(fields, 5) != nil {
			return
		}
		if err := s.Load(fields, 5); err != nil {
			t.Fatal(err)
		}
		h.Run(100)
		if _, err := s.Save(); err != nil {
			t.Fatal(err)
		}
		h.DumpRegisters()
	})
}

// TestDumpRegisters pins the layout of info registers.
func TestDumpRegisters(t *testing.T) {
	h, _ := newHart(t, 1<<20)
	h.x[10] = 0xabc
	dump := h.DumpRegisters()
	for _, line := range []string{
		" pc       0000000080000000\n",
		" mstatus  0000000a00000000\n",
		" x8/s0    0000000000000000 x9/s1    0000000000000000 x10/a0   0000000000000abc x11/a1   0000000000000000\n",
		" f28/ft8  0000000000000000 f29/ft9  0000000000000000 f30/ft10 0000000000000000 f31/ft11 0000000000000000\n",
	} {
		if !strings.Contains(dump, line) {
			t.Errorf("no line %q in\n%s", line, dump)
		}
	}
}
