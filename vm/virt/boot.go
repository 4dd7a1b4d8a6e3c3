package virt

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"os"
	"slices"

	"github.com/qmon/qmon/vm"
)

// Boot says what is in memory after a reset.
type Boot struct {
	Firmware *Image // entered in machine mode; nil for none: -bios none
	Kernel   *Image // what firmware, or the boot ROM, enters next
	Initrd   *Image
	Append   string // the kernel's command line
}

// Image is a file to be loaded: an ELF program, or bytes as they are.
type Image struct {
	Name string
	Data []byte
}

// maxImage bounds what ReadImage takes: more than any kernel or initial RAM disk.
const maxImage = 1 << 30

// ReadImage reads a file.
func ReadImage(path string) (*Image, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxImage {
		return nil, fmt.Errorf("%s: %d bytes are too many for an image", path, info.Size())
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return &Image{Name: path, Data: data}, nil
}

// firmwarePaths are where OpenSBI is installed, Debian's places first.
var firmwarePaths = []string{
	"/usr/lib/riscv64-linux-gnu/opensbi/generic/fw_dynamic.bin",
	"/usr/share/qemu/opensbi-riscv64-generic-fw_dynamic.bin",
	"/usr/share/opensbi/lp64/generic/firmware/fw_dynamic.bin",
}

// kernelPaths are where U-Boot for this board is installed.
var kernelPaths = []string{
	"/usr/lib/u-boot/qemu-riscv64_smode/uboot.elf",
	"/usr/lib/u-boot/qemu-riscv64_smode/u-boot.elf",
}

// InstalledFirmware is the path of OpenSBI on this host: -bios default.
func InstalledFirmware() (path string, ok bool) { return firstFile(firmwarePaths) }

// InstalledKernel is the path of U-Boot on this host.
func InstalledKernel() (path string, ok bool) { return firstFile(kernelPaths) }

func firstFile(paths []string) (string, bool) {
	for _, p := range paths {
		if info, err := os.Stat(p); err == nil && info.Mode().IsRegular() {
			return p, true
		}
	}
	return "", false
}

const (
	kernelAlign = 2 << 20 // of a raw kernel behind the firmware, and of the device tree
	initrdSpace = 128 << 20
	treeLimit   = 3 << 30 // the device tree is below 3 GiB, for firmware with 32-bit words
)

// loader puts firmware, kernel, initial RAM disk and device tree into RAM, and the way to
// them into the boot ROM.
type loader struct {
	memory *vm.Memory
	pieces []piece
}

// piece is bytes that a reset puts at an address of RAM or ROM.
type piece struct {
	name    string
	addr    uint64
	data    []byte
	segment bool // of an ELF program
}

// newLoader places everything, or says what does not fit.
func newLoader(b *Board, boot Boot) (*loader, error) {
	l := &loader{memory: b.machine.Memory()}
	end, start := uint64(RAMBase), uint64(RAMBase)
	if boot.Firmware != nil {
		p, err := l.place(boot.Firmware, RAMBase)
		if err != nil {
			return nil, err
		}
		end = p.end
		l.pieces = append(l.pieces, p.pieces...)
	}
	var entry uint64
	tree := treeConfig{
		ram:    b.ram.Size,
		append: boot.Append,
		fixed:  b.machine.Clock().Reproducible(),
	}
	if boot.Kernel != nil {
		p, err := l.place(boot.Kernel, alignUp(end, kernelAlign))
		if err != nil {
			return nil, err
		}
		entry = p.entry
		l.pieces = append(l.pieces, p.pieces...)
		if boot.Firmware == nil {
			start = entry
		}
	}
	if boot.Initrd != nil {
		at := entry + min(b.ram.Size/2, initrdSpace)
		tree.initrdStart, tree.initrdEnd = at, at+uint64(len(boot.Initrd.Data))
		l.pieces = append(l.pieces, piece{name: boot.Initrd.Name, addr: at, data: boot.Initrd.Data})
	}
	dtb, err := tree.encode()
	if err != nil {
		return nil, err
	}
	treeAddr := (min(RAMBase+b.ram.Size, treeLimit) - uint64(len(dtb))) &^ (kernelAlign - 1)
	l.pieces = append(l.pieces,
		piece{name: "fdt", addr: treeAddr, data: dtb},
		piece{name: "mrom.reset", addr: romBase, data: resetVector(start, treeAddr, entry)})
	return l, l.check()
}

func alignUp(v, align uint64) uint64 { return (v + align - 1) &^ (align - 1) }

// check makes sure that reset cannot fail.
func (l *loader) check() error {
	for _, p := range l.pieces {
		if _, b := l.memory.Bytes(p.addr, uint64(len(p.data))); b == nil {
			return fmt.Errorf("%s: %d bytes do not fit at %#x", p.name, len(p.data), p.addr)
		}
	}
	byAddr := slices.SortedFunc(slices.Values(l.pieces), func(a, b piece) int { return cmp.Compare(a.addr, b.addr) })
	for i := 1; i < len(byAddr); i++ {
		if a, b := byAddr[i-1], byAddr[i]; b.addr-a.addr < uint64(len(a.data)) {
			return fmt.Errorf("%s at %#x and %s at %#x overlap", a.name, a.addr, b.name, b.addr)
		}
	}
	return nil
}

// reset loads everything.
func (l *loader) reset() {
	for _, p := range l.pieces {
		r, b := l.memory.Bytes(p.addr, uint64(len(p.data)))
		copy(b, p.data)
		r.Wrote(p.addr-r.Base, uint64(len(b)))
	}
}

// Firmware's fw_dynamic info (OpenSBI, docs/firmware/fw_dynamic.md).
const (
	dynamicMagic      = 0x4942534f // "OSBI"
	dynamicVersion    = 2
	dynamicSupervisor = 1 // mode of the next stage
)

// resetVector is the start of the boot ROM: code that loads a0, a1, a2 and jumps, the two
// addresses it loads, and the fw_dynamic info that a2 points to.
func resetVector(start, tree, next uint64) []byte {
	rom := []byte{}
	for _, instruction := range []uint32{
		0x00000297, // auipc t0, 0
		0x02828613, // addi  a2, t0, 0x28
		0xf1402573, // csrr  a0, mhartid
		0x0202b583, // ld    a1, 0x20(t0)
		0x0182b283, // ld    t0, 0x18(t0)
		0x00028067, // jr    t0
	} {
		rom = binary.LittleEndian.AppendUint32(rom, instruction)
	}
	for _, word := range []uint64{
		start, tree,
		dynamicMagic, dynamicVersion, next, dynamicSupervisor, 0 /* options */, 0, /* boot hart */
	} {
		rom = binary.LittleEndian.AppendUint64(rom, word)
	}
	return rom
}
