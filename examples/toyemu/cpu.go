package main

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"

	"github.com/qmon/qmon/vm"
)

// The processor: eight 32-bit registers, a program counter, instructions of four bytes
// (operation, register a, register b, constant), physical addresses only.
const (
	opHalt  = iota // wait until the console has a byte
	opSet          // a = constant
	opAdd          // a += b + constant
	opShift        // a <<= constant
	opLoad         // a = 32 bits at b + constant
	opStore        // 32 bits at b + constant = a
	opJump         // pc = constant * 4
	opEqual        // skip the next instruction unless a == b
)

const (
	registers = 8
	wordBytes = 4
)

// toyState is what a snapshot keeps of the processor.
type toyState struct {
	Regs   []uint32 `vmstate:"regs"`
	PC     uint32   `vmstate:"pc"`
	Halted bool     `vmstate:"halted"`
}

// cpu implements vm.CPU; everything but Kick runs on the machine's goroutine.
type cpu struct {
	memory *vm.Memory
	regs   [registers]uint32
	pc     uint32
	halted bool
	kicked atomic.Bool
}

var (
	_ vm.CPU            = (*cpu)(nil)
	_ vm.State          = (*cpu)(nil)
	_ vm.RegisterDumper = (*cpu)(nil)
)

// Run executes up to budget instructions.
func (c *cpu) Run(budget int64) (done int64, why vm.Exit) {
	for ; done < budget; done++ {
		if c.kicked.Swap(false) {
			return done, vm.ExitKick
		}
		if c.halted {
			return done, vm.ExitHalt
		}
		if err := c.step(); err != nil {
			return done, vm.ExitStop
		}
	}
	return done, vm.ExitBudget
}

// step executes one instruction.
func (c *cpu) step() error {
	word, err := c.memory.Load(uint64(c.pc), wordBytes)
	if err != nil {
		return err
	}
	op, a, b, k := byte(word), byte(word>>8)%registers, byte(word>>16)%registers, uint32(word>>24)
	c.pc += wordBytes
	switch op {
	case opHalt:
		c.halted = true
	case opSet:
		c.regs[a] = k
	case opAdd:
		c.regs[a] += c.regs[b] + k
	case opShift:
		c.regs[a] <<= k
	case opLoad:
		v, err := c.memory.Load(uint64(c.regs[b]+k), wordBytes)
		c.regs[a] = uint32(v)
		return err
	case opStore:
		return c.memory.Store(uint64(c.regs[b]+k), wordBytes, uint64(c.regs[a]))
	case opJump:
		c.pc = k * wordBytes
	case opEqual:
		if c.regs[a] != c.regs[b] {
			c.pc += wordBytes
		}
	default:
		return fmt.Errorf("no such operation: %d", op)
	}
	return nil
}

// wake is the processor's only interrupt line: it ends opHalt.
func (c *cpu) wake(level bool) {
	if level {
		c.halted = false
	}
}

func (c *cpu) Kick()              { c.kicked.Store(true) }
func (c *cpu) Halted() bool       { return c.halted }
func (c *cpu) Reset()             { c.regs, c.pc, c.halted = [registers]uint32{}, 0, false }
func (c *cpu) PC() uint64         { return uint64(c.pc) }
func (c *cpu) WordSize() int      { return wordBytes }
func (c *cpu) States() []vm.State { return []vm.State{c} }

// DumpRegisters is what info registers shows.
func (c *cpu) DumpRegisters() string {
	var b strings.Builder
	fmt.Fprintf(&b, "pc %08x\n", c.pc)
	for i, r := range c.regs {
		fmt.Fprintf(&b, "r%d %08x\n", i, r)
	}
	return b.String()
}

// Register makes $pc and $r0 to $r7 known to the monitor's expressions.
func (c *cpu) Register(name string) (uint64, bool) {
	if name == "pc" {
		return uint64(c.pc), true
	}
	var n int
	if _, err := fmt.Sscanf(name, "r%d", &n); err != nil || n < 0 || n >= registers {
		return 0, false
	}
	return uint64(c.regs[n]), true
}

func (c *cpu) Section() vm.Section { return vm.Section{Name: "toycpu", Version: 1, MinVersion: 1} }
func (c *cpu) New() any            { return &toyState{Regs: make([]uint32, registers)} }
func (c *cpu) Save() (any, error) {
	return &toyState{Regs: append([]uint32(nil), c.regs[:]...), PC: c.pc, Halted: c.halted}, nil
}

func (c *cpu) Check(state any, _ uint32) error {
	if s := state.(*toyState); s.PC%wordBytes != 0 {
		return fmt.Errorf("pc %#x is not aligned", s.PC)
	}
	return nil
}

func (c *cpu) Load(state any, _ uint32) error {
	s := state.(*toyState)
	copy(c.regs[:], s.Regs)
	c.pc, c.halted = s.PC, s.Halted
	return nil
}

// instruction encodes one word of a program.
func instruction(op, a, b, constant int) []byte {
	return binary.LittleEndian.AppendUint32(nil, uint32(op)|uint32(a)<<8|uint32(b)<<16|uint32(constant)<<24)
}
