package virt

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/u-root/u-root/pkg/dt"

	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/vm"
)

// peek reads a board's memory.
func peek(t *testing.T, b *Board, addr uint64, n int) []byte {
	t.Helper()
	p := make([]byte, n)
	if err := b.Machine().Memory().Read(addr, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func word(t *testing.T, b *Board, addr uint64) uint64 {
	t.Helper()
	return binary.LittleEndian.Uint64(peek(t, b, addr, 8))
}

func raw(size int, fill byte) *Image {
	return &Image{Name: "image", Data: bytes.Repeat([]byte{fill}, size)}
}

// tree decodes the device tree of a board.
func tree(t *testing.T, b *Board) *dt.FDT {
	t.Helper()
	at := word(t, b, romBase+0x20)
	size := binary.BigEndian.Uint32(peek(t, b, at+4, 4))
	f, err := dt.ReadFDT(bytes.NewReader(peek(t, b, at, int(size))))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// TestWhatIsWhereAfterReset compares with QEMU 7.2's placement.
func TestWhatIsWhereAfterReset(t *testing.T) {
	for _, test := range []struct {
		name               string
		ram                uint64
		boot               Boot
		start, next, tree  uint64
		initrd             uint64
		firmware, kernelAt uint64
	}{
		{name: "nothing", start: 0x80000000, tree: 0x87e00000},
		{name: "256 MiB", ram: 256 << 20, start: 0x80000000, tree: 0x8fe00000},
		{name: "3 GiB", ram: 3 << 30, start: 0x80000000, tree: 0xbfe00000},
		{name: "firmware", boot: Boot{Firmware: raw(1000, 1)}, start: 0x80000000, tree: 0x87e00000, firmware: 0x80000000},
		{
			name: "firmware and kernel", boot: Boot{Firmware: raw(1000, 1), Kernel: raw(2000, 2)},
			start: 0x80000000, next: 0x80200000, tree: 0x87e00000, firmware: 0x80000000, kernelAt: 0x80200000,
		},
		{
			name: "large firmware", boot: Boot{Firmware: raw(2<<20+1, 1), Kernel: raw(2000, 2)},
			start: 0x80000000, next: 0x80400000, tree: 0x87e00000, firmware: 0x80000000, kernelAt: 0x80400000,
		},
		{
			name: "kernel alone", boot: Boot{Kernel: raw(2000, 2)},
			start: 0x80000000, next: 0x80000000, tree: 0x87e00000, kernelAt: 0x80000000,
		},
		{
			name: "initrd behind half of RAM", boot: Boot{Firmware: raw(10, 1), Kernel: raw(2000, 2), Initrd: raw(3000, 3)},
			start: 0x80000000, next: 0x80200000, tree: 0x87e00000, kernelAt: 0x80200000, initrd: 0x84200000,
		},
		{
			name: "initrd behind 128 MiB", ram: 1 << 30, boot: Boot{Firmware: raw(10, 1), Kernel: raw(2000, 2), Initrd: raw(3000, 3)},
			start: 0x80000000, next: 0x80200000, tree: 0xbfe00000, kernelAt: 0x80200000, initrd: 0x88200000,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, err := New(Config{RAM: test.ram, Boot: test.boot})
			if err != nil {
				t.Fatal(err)
			}
			for reset := range 2 {
				if got := word(t, b, 0x1018); got != test.start {
					t.Errorf("start address %#x, want %#x", got, test.start)
				}
				if got := word(t, b, 0x1020); got != test.tree {
					t.Errorf("device tree at %#x, want %#x", got, test.tree)
				}
				if got := word(t, b, 0x1038); got != test.next {
					t.Errorf("next address %#x, want %#x", got, test.next)
				}
				for at, fill := range map[uint64]byte{test.firmware: 1, test.kernelAt: 2, test.initrd: 3} {
					if at != 0 && peek(t, b, at, 1)[0] != fill {
						t.Errorf("reset %d: image %d is not at %#x", reset, fill, at)
					}
				}
				clear(b.ram.Data[:min(len(b.ram.Data), 256<<20)])
				b.Machine().Reset("")
			}
			tree(t, b)
		})
	}
}

// TestBootROM compares with the bytes that QEMU 7.2 has there for OpenSBI and U-Boot on a
// board of 64 MiB.
func TestBootROM(t *testing.T) {
	want := []byte{
		0x97, 0x02, 0x00, 0x00, 0x13, 0x86, 0x82, 0x02, 0x73, 0x25, 0x40, 0xf1, 0x83, 0xb5, 0x02, 0x02,
		0x83, 0xb2, 0x82, 0x01, 0x67, 0x80, 0x02, 0x00, 0x00, 0x00, 0x00, 0x80, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0xe0, 0x83, 0x00, 0x00, 0x00, 0x00, 0x4f, 0x53, 0x42, 0x49, 0x00, 0x00, 0x00, 0x00,
		0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x20, 0x80, 0x00, 0x00, 0x00, 0x00,
		0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
		0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
	}
	b, err := New(Config{RAM: 64 << 20, Boot: Boot{Firmware: raw(10, 1), Kernel: raw(10, 2)}})
	if err != nil {
		t.Fatal(err)
	}
	if got := peek(t, b, romBase, len(want)); !bytes.Equal(got, want) {
		t.Errorf("ROM\n%x\nwant\n%x", got, want)
	}
}

func TestImagesThatDoNotFitAreRefused(t *testing.T) {
	for name, c := range map[string]Config{
		"firmware":         {RAM: 16 << 20, Boot: Boot{Firmware: raw(17<<20, 1)}},
		"kernel":           {RAM: 16 << 20, Boot: Boot{Firmware: raw(1, 1), Kernel: raw(15<<20, 1)}},
		"initrd":           {RAM: 16 << 20, Boot: Boot{Kernel: raw(1, 1), Initrd: raw(9<<20, 1)}},
		"kernel over tree": {RAM: 2 << 20, Boot: Boot{Kernel: raw(1, 1)}},
		"ELF over the ROM": {RAM: 16 << 20, Boot: Boot{Kernel: elfImage(0x1000, 0x1000)}},
		"ELF at the edge":  {RAM: 16 << 20, Boot: Boot{Kernel: elfImage(RAMBase, RAMBase+16<<20-2)}},
		"too much RAM":     {RAM: MaxRAM + pageSize},
		"half a page":      {RAM: 64<<20 + 2048},
		"a broken ELF":     {RAM: 16 << 20, Boot: Boot{Kernel: &Image{Data: []byte("\x7fELF garbage")}}},
		"another machine":  {RAM: 16 << 20, Boot: Boot{Kernel: elfFor(elf.EM_X86_64, RAMBase, RAMBase)}},
		"a cut-off file":   {RAM: 16 << 20, Boot: Boot{Kernel: &Image{Data: elfImage(RAMBase, RAMBase).Data[:120]}}},
		"no such disk bus": {RAM: 16 << 20, Disks: []Disk{{Bus: "virtio-mmio-bus.8"}}},
	} {
		if _, err := New(c); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// elfImage is a program of four bytes with the addresses given.
func elfImage(virt, phys uint64) *Image { return elfFor(elf.EM_RISCV, virt, phys) }

func elfFor(machine elf.Machine, virt, phys uint64) *Image {
	var out bytes.Buffer
	header := elf.Header64{
		Type: uint16(elf.ET_EXEC), Machine: uint16(machine), Version: 1,
		Entry: virt + 2, Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 1,
	}
	copy(header.Ident[:], elf.ELFMAG)
	header.Ident[elf.EI_CLASS], header.Ident[elf.EI_DATA], header.Ident[elf.EI_VERSION] = 2, 1, 1
	prog := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Off: 120, Vaddr: virt, Paddr: phys, Filesz: 4, Memsz: 4096,
	}
	for _, part := range []any{header, prog, []byte("code")} {
		if err := binary.Write(&out, binary.LittleEndian, part); err != nil {
			panic(err)
		}
	}
	return &Image{Name: "program", Data: out.Bytes()}
}

func TestELFIsLoadedAtItsPhysicalAddress(t *testing.T) {
	b, err := New(Config{RAM: 16 << 20, Boot: Boot{Kernel: elfImage(0xffffffff80001000, RAMBase+0x1000)}})
	if err != nil {
		t.Fatal(err)
	}
	if got := peek(t, b, RAMBase+0x1000, 4); string(got) != "code" {
		t.Errorf("%q at the physical address", got)
	}
	if got := word(t, b, 0x1018); got != RAMBase+0x1002 {
		t.Errorf("entered at %#x", got)
	}
}

func FuzzPlace(f *testing.F) {
	f.Add(elfImage(RAMBase, RAMBase).Data)
	f.Add([]byte("raw"))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := place(&Image{Name: "fuzz", Data: data}, RAMBase)
		if err != nil {
			return
		}
		for _, piece := range p.pieces {
			if len(piece.data) > len(data) {
				t.Errorf("a piece of %d bytes from a file of %d", len(piece.data), len(data))
			}
		}
	})
}

func TestChosen(t *testing.T) {
	b, err := New(Config{
		RAM:  64 << 20,
		Boot: Boot{Kernel: raw(10, 1), Initrd: raw(0x1234, 2), Append: "console=ttyS0 \"quoted\""},
	})
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, n := range tree(t, b).RootNode.Children {
		if n.Name == "chosen" {
			for _, p := range n.Properties {
				got[p.Name] = string(p.Value)
			}
		}
	}
	for name, want := range map[string]string{
		"bootargs":           "console=ttyS0 \"quoted\"\x00",
		"stdout-path":        "/soc/serial@10000000\x00",
		"linux,initrd-start": "\x00\x00\x00\x00\x82\x00\x00\x00",
		"linux,initrd-end":   "\x00\x00\x00\x00\x82\x00\x12\x34",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if len(got["rng-seed"]) != 32 || got["rng-seed"] == string(make([]byte, 32)) {
		t.Errorf("rng-seed is %x", got["rng-seed"])
	}
}

func TestReproducibleMachinesHaveOneTree(t *testing.T) {
	var trees [2][]byte
	for i := range trees {
		b, err := New(Config{Machine: vm.Config{Clock: vm.NewInstructionClock(0)}, RAM: 16 << 20})
		if err != nil {
			t.Fatal(err)
		}
		trees[i] = peek(t, b, word(t, b, 0x1020), 4096)
	}
	if !bytes.Equal(trees[0], trees[1]) {
		t.Error("two trees differ")
	}
}

// treeLines decompiles a tree into lines "path/property = value", in order.
func treeLines(t *testing.T, dtb []byte) []string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tree.dtb")
	if err := os.WriteFile(path, dtb, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("dtc", "-q", "-I", "dtb", "-O", "dts", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	var lines, at []string
	for _, l := range strings.Split(string(out), "\n") {
		l = strings.TrimSpace(l)
		switch {
		case strings.HasSuffix(l, "{"):
			at = append(at, strings.TrimSuffix(l, " {"))
		case l == "};":
			at = at[:len(at)-1]
		case l != "" && len(at) > 0:
			lines = append(lines, strings.Join(at[1:], "/")+" "+l)
		}
	}
	return lines
}

// TestTreeIsQEMUs compares with the tree that QEMU makes, but for the devices that this
// board leaves out and what the hart is.
func TestTreeIsQEMUs(t *testing.T) {
	peer.Need(t, "dtc", "qemu-system-riscv64")
	path := filepath.Join(t.TempDir(), "qemu.dtb")
	kernel := filepath.Join(t.TempDir(), "kernel")
	if err := os.WriteFile(kernel, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	peer.Run(t, "qemu-system-riscv64", "-display", "none", "-m", "64", "-append", "some words",
		"-kernel", kernel, "-bios", "none", "-machine", "virt,dumpdtb="+path)
	theirs, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := treeConfig{ram: 64 << 20, append: "some words", fixed: true}.encode()
	if err != nil {
		t.Fatal(err)
	}
	different := func(line string) bool {
		for _, part := range []string{
			"pmu", "fw-cfg@", "flash@", "platform-bus@", "soc/pci@", "rng-seed", "riscv,isa", "mmu-type",
		} {
			if strings.Contains(line, part) {
				return true
			}
		}
		return false
	}
	filter := func(lines []string) (out []string) {
		for _, l := range lines {
			if !different(l) {
				out = append(out, l)
			}
		}
		return out
	}
	a, b := filter(treeLines(t, ours)), filter(treeLines(t, theirs))
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("- QEMU's, + ours:\n%s", diff)
	}
}
