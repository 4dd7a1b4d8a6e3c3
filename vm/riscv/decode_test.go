package riscv

import (
	"bufio"
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"unsafe"

	"github.com/qmon/qmon/internal/peer"
)

// TestOpFitsCacheLine: four ops to a cache line.
func TestOpFitsCacheLine(t *testing.T) {
	if n := unsafe.Sizeof(op{}); n != 16 {
		t.Errorf("op has %d bytes", n)
	}
}

// TestDecodeTableIsUnambiguous: no word matches two rows.
func TestDecodeTableIsUnambiguous(t *testing.T) {
	for i, a := range instructions {
		if a.match&^a.mask != 0 {
			t.Errorf("%s: match %#x has bits outside of mask %#x", a.name, a.match, a.mask)
		}
		for _, b := range instructions[:i] {
			if both := a.mask & b.mask; a.match&both == b.match&both {
				t.Errorf("%s and %s overlap", a.name, b.name)
			}
		}
	}
}

// TestDecodeImmediates pins the sign and the scattered bits of each format.
func TestDecodeImmediates(t *testing.T) {
	for _, c := range []struct {
		name string
		word uint32
		code opcode
		imm  int32
	}{
		{"addi -2048", 0x80000013, opADDI, -2048},
		{"slli 63", 0x03f01013, opSLLI, 63},
		{"sraiw 31", 0x41f0501b, opSRAIW, 31},
		{"sd -1", 0xfe003fa3, opSD, -1},
		{"beq -4096, in parcels", 0x80000063, opBEQ, -2048},
		{"beq +4094, in parcels", 0x7e000fe3, opBEQ, 2047},
		{"jal -1048576, in parcels", 0x8000006f, opJAL, -524288},
		{"jal +2048, in parcels", 0x0010006f, opJAL, 1024},
		{"lui", 0xfffff037, opLUI, -4096},
		{"csrrw 0xfff", 0xfff01073, opCSRRW, 0xfff},
		{"slli 64 is illegal", 0x04001013, opIllegal, 0},
		{"sraiw 32 is illegal", 0x4200501b, opIllegal, 0},
		{"c.addi4spn 1020", 0x1fe0, opADDI, 1020},
		{"c.addi16sp -512", 0x7101, opADDI, -512},
		{"c.j -2048, in parcels", 0xb001, opJAL, -1024},
		{"c.beqz -256, in parcels", 0xd001, opBEQ, -128},
		{"c.lui -131072", 0x7081, opLUI, -131072},
		{"c.ldsp 504", 0x70fe, opLD, 504},
		{"c.sdsp 504", 0xff86, opSD, 504},
		{"c.fld 248", 0x3c60, opFLD, 248},
		{"0 is illegal", 0, opIllegal, 0},
	} {
		if o := decode(c.word); o.code != c.code || o.code != opIllegal && o.imm != c.imm {
			t.Errorf("%s: code %d imm %d, want %d, %d", c.name, o.code, o.imm, c.code, c.imm)
		}
	}
}

// objdumpNames are the names that objdump has for what is one instruction here.
var objdumpNames = map[string]string{
	"c.li": "addi", "c.addi4spn": "addi", "c.addi16sp": "addi", "c.nop": "addi", "c.mv": "add", "c.j": "jal",
	"c.jr": "jalr", "c.jalr": "jalr", "c.beqz": "beq", "c.bnez": "bne", "c.lwsp": "lw", "c.ldsp": "ld", "c.swsp": "sw",
	"c.sdsp": "sd", "c.fldsp": "fld", "c.fsdsp": "fsd", "c.slli64": "slli", "c.srli64": "srli", "c.srai64": "srai",
	"fence.tso": "fence", "pause": "fence",
}

// TestDecodeLikeObjdump compares the names of all compressed instructions and of many
// random words with objdump's.
func TestDecodeLikeObjdump(t *testing.T) {
	peer.Need(t, "riscv64-linux-gnu-objdump")
	var code []byte
	for i := range uint32(1 << 16) {
		if isCompressed(i) {
			code = le.AppendUint16(code, uint16(i))
		}
	}
	r := rand.New(rand.NewPCG(7, 8))
	for range 40_000 {
		in := instructions[r.IntN(len(instructions))]
		mask := in.mask
		switch in.code { // objdump knows one value only of fields that do not matter
		case opFENCE:
			mask |= 0xf00fff80
		case opFENCEI:
			mask = 0xffffffff
		case opFCVTDW, opFCVTDWU, opFCVTDS:
			mask |= 7 << 12
		}
		code = le.AppendUint32(code, r.Uint32()&^mask|in.match)
	}
	for addr, want := range objdump(t, code) {
		parcel := code[addr:]
		word, n := uint32(le.Uint16(parcel)), 2
		if !isCompressed(word) {
			word, n = le.Uint32(parcel), 4
		}
		full := word
		if n == 2 {
			full = expand(uint16(word))
		}
		if word == 0x6101 { // c.addi16sp of 0 is reserved; objdump shows it all the same
			want = ""
		}
		got := ""
		if in := lookup(full); in != nil {
			got = in.name
		}
		if got != want {
			t.Errorf("%0*x: %q, objdump has %q", 2*n, word, got, want)
		}
	}
}

// objdump gives names by offset, "" for what is no instruction.
func objdump(t *testing.T, code []byte) map[int]string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "code")
	if err := os.WriteFile(file, code, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("riscv64-linux-gnu-objdump", "-b", "binary", "-m", "riscv:rv64", "-M", "no-aliases", "-D", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	names := map[int]string{}
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		at, rest, ok := strings.Cut(lines.Text(), ":\t")
		addr, err := strconv.ParseUint(strings.TrimSpace(at), 16, 64)
		if !ok || err != nil {
			continue
		}
		fields := strings.Split(rest, "\t")
		if len(fields) < 2 {
			continue
		}
		name, _, _ := strings.Cut(fields[1], " ")
		name = strings.TrimSuffix(strings.TrimSuffix(strings.TrimSuffix(name, ".rl"), ".aqrl"), ".aq")
		if alias, ok := objdumpNames[name]; ok {
			name = alias
		}
		name = strings.TrimPrefix(name, "c.")
		if strings.HasPrefix(name, ".") || name == "unimp" {
			name = ""
		}
		names[int(addr)] = name
	}
	if len(names) < 80_000 {
		t.Fatalf("objdump shows %d instructions", len(names))
	}
	return names
}
