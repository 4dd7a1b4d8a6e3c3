package monitor

import (
	"context"
	"errors"
	"os"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

var memoryCommands = []Command{
	{
		Name: "x", Args: "/fmt addr:l",
		Help: "show memory at a virtual address", Run: examine(virtual),
	},
	{
		Name: "xp", Args: "/fmt addr:l",
		Help: "show memory at a physical address", Run: examine(physical),
	},
	{
		Name: "print", Aliases: []string{"p"}, Args: "/fmt expr:l",
		Help: "compute an expression; $name is a register", Run: printValue,
	},
	{
		Name: "memsave", Args: "addr:l size:i file:s", Complete: completeFile,
		Help: "write memory at a virtual address to a file", Run: saveMemory(virtual),
	},
	{
		Name: "pmemsave", Args: "addr:l size:i file:s", Complete: completeFile,
		Help: "write memory at a physical address to a file", Run: saveMemory(physical),
	},
	{
		Name: "sum", Args: "addr:l size:l", Params: "addr size",
		Help: "compute the BSD checksum of physical memory", Run: checksum,
	},
	{Name: "gva2gpa", Args: "addr:l", Help: "translate a virtual address", Run: translateAddress},
}

// pageSize is the smallest page of any processor: within one, a translation holds.
const pageSize = 4096

// chunkSize is how much memory is looked at between two looks at the machine's requests.
const chunkSize = 64 << 10

// space is how addresses are meant.
type space uint8

const (
	virtual space = iota
	physical
)

// readMemory fills p. It is called on the machine's goroutine.
func (s *Session) readMemory(sp space, addr uint64, p []byte) error {
	memory := s.Machine().Memory()
	mmu, translates := s.CPU().(vm.Translator)
	if sp == physical || !translates {
		return memory.Read(addr, p)
	}
	for len(p) > 0 {
		n := min(uint64(len(p)), pageSize-addr%pageSize)
		at, ok := mmu.Translate(addr)
		if !ok {
			return &vm.BusError{Addr: addr}
		}
		if err := memory.Read(at, p[:n]); err != nil {
			return err
		}
		p, addr = p[n:], addr+n
	}
	return nil
}

// fetch is readMemory from the console's goroutine.
func (s *Session) fetch(sp space, addr uint64, p []byte) (err error) {
	if ended := s.Do(func() { err = s.readMemory(sp, addr, p) }); ended != nil {
		return ended
	}
	return err
}

// addressDigits is how wide an address is shown.
func (s *Session) addressDigits(sp space) int {
	if c, ok := s.CPU().(vm.RegisterDumper); ok && sp == virtual {
		return 2 * c.WordSize()
	}
	return 16
}

// examine dumps memory.
func examine(sp space) func(context.Context, *Session, Args) error {
	return func(ctx context.Context, s *Session, a Args) error {
		f := a.format("fmt").after(s.last)
		addr := uint64(a.Int("addr"))
		if f.letter == 'i' {
			s.last.letter = 'i'
			return s.disassemble(ctx, sp, addr, f.count)
		}
		s.last = f
		return s.dump(ctx, sp, addr, f)
	}
}

func (s *Session) dump(ctx context.Context, sp space, addr uint64, f format) error {
	width := lineOfWords
	if f.size == 1 {
		width = lineOfBytes
	}
	line := make([]byte, width)
	for left := f.count * f.size; left > 0 && ctx.Err() == nil; {
		p := line[:min(left, width)]
		err := s.fetch(sp, addr, p)
		if errors.Is(err, vm.ErrEnded) {
			return err
		}
		s.Printf("%0*x:", s.addressDigits(sp), addr)
		if err != nil {
			s.Println(" Cannot access memory")
			return nil //nolint:nilerr // the dump says where it ends
		}
		s.Println(f.line(p))
		addr += uint64(len(p))
		left -= len(p)
	}
	return ctx.Err()
}

// maxInstruction is the longest instruction of any processor, in bytes.
const maxInstruction = 16

func (s *Session) disassemble(ctx context.Context, sp space, addr uint64, count int) error {
	cpu, ok := s.CPU().(vm.Disassembler)
	if !ok {
		return Verbatim("This processor has no disassembler")
	}
	for ; count > 0 && ctx.Err() == nil; count-- {
		code, err := s.code(sp, addr)
		if err != nil {
			s.Printf("%0*x: Cannot access memory\n", s.addressDigits(sp), addr)
			return nil //nolint:nilerr // the listing says where it ends
		}
		text, n := cpu.Disassemble(addr, code)
		if n <= 0 || n > len(code) {
			return Verbatim("Cannot disassemble at 0x%x", addr)
		}
		s.Printf("0x%0*x:  %s\n", s.addressDigits(sp), addr, text)
		addr += uint64(n)
	}
	return ctx.Err()
}

// code reads what may be one instruction: less than the longest where memory ends.
func (s *Session) code(sp space, addr uint64) ([]byte, error) {
	p := make([]byte, maxInstruction)
	err := s.fetch(sp, addr, p)
	for n := len(p) / 2; err != nil && n > 0; n /= 2 {
		p = p[:n]
		err = s.fetch(sp, addr, p)
	}
	return p, err
}

// printValue shows an expression's value. Instructions make no sense for it: its last
// resort is decimal.
func printValue(_ context.Context, s *Session, a Args) error {
	f := a.format("fmt").after(s.last)
	s.last = f
	s.Println(f.number(a.Int("expr")))
	return nil
}

// fetchWithHoles is fetch of physical memory where what is at no address reads as zeroes.
func (s *Session) fetchWithHoles(addr uint64, p []byte) error {
	return s.Do(func() {
		for len(p) > 0 {
			n := min(uint64(len(p)), pageSize-addr%pageSize)
			if s.readMemory(physical, addr, p[:n]) != nil {
				clear(p[:n])
			}
			p, addr = p[n:], addr+n
		}
	})
}

// eachChunk hands size bytes of memory at addr to fn, piece by piece, so that the machine
// gets its turn in between. Holes are errors in virtual memory and zeroes in physical.
func (s *Session) eachChunk(ctx context.Context, sp space, addr uint64, size int64, fn func(p []byte) error) error {
	buf := make([]byte, max(min(size, chunkSize), 0))
	for left := size; left > 0; {
		p := buf[:min(left, chunkSize)]
		var err error
		if sp == physical {
			err = s.fetchWithHoles(addr, p)
		} else {
			err = s.fetch(sp, addr, p)
		}
		if err = errors.Join(err, ctx.Err()); err != nil {
			return err
		}
		if err := fn(p); err != nil {
			return err
		}
		addr += uint64(len(p))
		left -= int64(len(p))
	}
	return nil
}

// saveMemory writes memory to a file.
func saveMemory(sp space) func(context.Context, *Session, Args) error {
	return func(ctx context.Context, s *Session, a Args) error {
		addr, size, name := uint64(a.Int("addr")), a.Int("size"), a.String("file")
		f, err := os.Create(name)
		if err != nil {
			return &blockdev.Error{Op: "open", File: name, Offset: blockdev.NoOffset, Text: "Could not open '" + name + "'", Err: err}
		}
		err = s.eachChunk(ctx, sp, addr, size, func(p []byte) error {
			_, err := f.Write(p)
			return err
		})
		var bus *vm.BusError
		if errors.As(err, &bus) {
			err = blockdev.Errorf(blockdev.ErrRange, "read", "memory", "Invalid addr 0x%016x/size %d specified", addr, size)
		}
		return errors.Join(err, f.Close())
	}
}

// checksum is the 16-bit checksum of BSD's sum: rotate right, add.
func checksum(ctx context.Context, s *Session, a Args) error {
	var sum uint16
	err := s.eachChunk(ctx, physical, uint64(a.Int("addr")), a.Int("size"), func(p []byte) error {
		for _, b := range p {
			sum = sum>>1 | sum<<15
			sum += uint16(b)
		}
		return nil
	})
	if err == nil {
		s.Printf("%05d\n", sum)
	}
	return err
}

func translateAddress(_ context.Context, s *Session, a Args) error {
	mmu, ok := s.CPU().(vm.Translator)
	if !ok {
		return Verbatim("No cpu")
	}
	var at uint64
	addr := uint64(a.Int("addr"))
	if err := s.Do(func() { at, ok = mmu.Translate(addr) }); err != nil {
		return err
	}
	if !ok {
		s.Println("Unmapped")
		return nil
	}
	s.Printf("gpa: %#x\n", at)
	return nil
}
