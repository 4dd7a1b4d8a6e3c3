package riscv

import (
	"bufio"
	"os"
	"strconv"
	"strings"
	"testing"
)

// TestDisassembleLikeQEMU compares with what x/i of QEMU 7.2 shows, but for what it gets
// wrong (see testdata/README).
func TestDisassembleLikeQEMU(t *testing.T) {
	f, err := os.Open("testdata/disassembly.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h, _ := newHart(t, 1<<12)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		at, want, _ := strings.Cut(lines.Text(), ":  ")
		addr, err := strconv.ParseUint(at, 0, 64)
		if err != nil {
			t.Fatal(err)
		}
		digits, _, _ := strings.Cut(want, " ")
		word, err := strconv.ParseUint(digits, 16, 32)
		if err != nil {
			t.Fatal(err)
		}
		code := make([]byte, 4)
		le.PutUint32(code, uint32(word))
		got, n := h.Disassemble(addr, code)
		if got != want || n != len(digits)/2 {
			t.Errorf("%s: %q, length %d, want %q", at, got, n, want)
		}
	}
}

// TestDisassembleOther shows what QEMU shows wrongly or not at all, and what is no
// instruction.
func TestDisassembleOther(t *testing.T) {
	h, _ := newHart(t, 1<<12)
	for _, c := range []struct {
		code []byte
		want string
		n    int
	}{
		{[]byte{0x53, 0x85, 0xb5, 0x22}, "22b58553          fmv.d                   fa0,fa1", 4},
		{[]byte{0x53, 0x95, 0xb5, 0x20}, "20b59553          fneg.s                  fa0,fa1", 4},
		{[]byte{0x67, 0x80, 0x40, 0x00}, "00408067          jalr                    zero,ra,4", 4},
		{[]byte{0x73, 0x25, 0x00, 0x32}, "32002573          csrrs                   a0,mcountinhibit,zero", 4},
		{[]byte{0xff, 0xff, 0xff, 0xff}, "ffffffff          illegal                 ", 4},
		{[]byte{0, 0, 0x13, 0}, "0000              illegal                 ", 2},
		{[]byte{0x13, 0, 0}, "", 0},
		{[]byte{0x13}, "", 0},
		{nil, "", 0},
	} {
		if got, n := h.Disassemble(0, c.code); got != c.want || n != c.n {
			t.Errorf("% x: %q, length %d, want %q, %d", c.code, got, n, c.want, c.n)
		}
	}
}
