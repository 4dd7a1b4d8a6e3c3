package virt

import (
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"slices"
)

// maxSegments bounds the segments of an ELF program; real ones have a handful.
const maxSegments = 64

// placed is an image with its addresses.
type placed struct {
	pieces []piece
	entry  uint64
	end    uint64 // behind its last byte
}

// place gives an ELF program the addresses that it asks for, and anything else the one
// given. Segments where nothing is are left out, as compilers add some that no machine
// needs.
func (l *loader) place(image *Image, at uint64) (placed, error) {
	p, err := place(image, at)
	p.pieces = slices.DeleteFunc(p.pieces, func(p piece) bool {
		return p.segment && l.memory.Find(p.addr) == nil && l.memory.Find(p.addr+uint64(len(p.data))-1) == nil
	})
	return p, err
}

func place(image *Image, at uint64) (placed, error) {
	if bytes.HasPrefix(image.Data, []byte(elf.ELFMAG)) {
		p, err := placeELF(image)
		if err != nil {
			return p, fmt.Errorf("%s: %w", image.Name, err)
		}
		return p, nil
	}
	return placed{
		pieces: []piece{{name: image.Name, addr: at, data: image.Data}},
		entry:  at,
		end:    at + uint64(len(image.Data)),
	}, nil
}

func placeELF(image *Image) (placed, error) {
	var out placed
	f, err := elf.NewFile(bytes.NewReader(image.Data))
	if err != nil {
		return out, err
	}
	if f.Machine != elf.EM_RISCV || f.Class != elf.ELFCLASS64 {
		return out, fmt.Errorf("ELF program for %v, %v", f.Machine, f.Class)
	}
	if len(f.Progs) > maxSegments {
		return out, fmt.Errorf("ELF program with %d segments", len(f.Progs))
	}
	out.entry = f.Entry
	for i, prog := range f.Progs {
		if prog.Type != elf.PT_LOAD || prog.Memsz == 0 {
			continue
		}
		size := uint64(len(image.Data))
		if prog.Off > size || prog.Filesz > size-prog.Off || prog.Filesz > prog.Memsz || prog.Memsz > MaxRAM {
			return out, fmt.Errorf("ELF segment %d is not in the file", i)
		}
		data := make([]byte, prog.Filesz)
		if _, err := io.ReadFull(prog.Open(), data); err != nil {
			return out, err
		}
		name := fmt.Sprintf("%s ELF program header segment %d", image.Name, i)
		out.pieces = append(out.pieces, piece{name: name, addr: prog.Paddr, data: data, segment: true})
		out.end = max(out.end, prog.Paddr+prog.Memsz)
		// The entry is a virtual address; nothing is mapped yet.
		if f.Entry >= prog.Vaddr && f.Entry-prog.Vaddr < prog.Memsz {
			out.entry = f.Entry - prog.Vaddr + prog.Paddr
		}
	}
	if out.pieces == nil {
		return out, fmt.Errorf("ELF program without anything to load")
	}
	return out, nil
}
