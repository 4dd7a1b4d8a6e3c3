package vm

// CPU is one processor. All methods but Kick are called on the machine's goroutine.
type CPU interface {
	// Run executes up to budget instructions and returns at an instruction boundary:
	// when they are used up, after Kick, or when the processor has nothing to do. It
	// returns how many it executed.
	Run(budget int64) (executed int64, why Exit)
	// Kick makes Run return soon. Any goroutine may call it, any number of times; a Kick
	// while Run is not running makes the next Run return at once.
	Kick()
	// Halted tells if the processor waits for an interrupt and none is pending.
	Halted() bool
	// Reset puts the processor into its power-on state.
	Reset()
	// PC is the address of the next instruction.
	PC() uint64
	// States are the sections that hold the processor's state.
	States() []State
}

// Exit says why CPU.Run returned.
type Exit uint8

const (
	ExitBudget Exit = iota // the budget is used up
	ExitKick               // Kick was called
	ExitHalt               // waits for an interrupt
	ExitStop               // the processor cannot go on; the machine is stopped (internal-error)
)

// InstructionCounter is a CPU that can tell in the middle of Run how far it has come. With
// it an instruction clock is exact for devices that read it during a slice.
type InstructionCounter interface {
	// Executed is the number of instructions since Run was called.
	Executed() int64
}

// RegisterDumper is a CPU that can show its registers: info registers.
type RegisterDumper interface {
	// DumpRegisters returns the text below the "CPU#0" line, lines ended by newlines.
	DumpRegisters() string
	// Register returns the value of a register by name, for expressions like $pc.
	Register(name string) (uint64, bool)
	// WordSize is 4 or 8: the size of an address in bytes, for x and print.
	WordSize() int
}

// Translator is a CPU with address translation: x and memsave go through it.
type Translator interface {
	// Translate gives the physical address of a virtual one as data reads see it, with
	// no side effects.
	Translate(virt uint64) (phys uint64, ok bool)
}

// Disassembler is a CPU whose instructions can be shown: x/i.
type Disassembler interface {
	// Disassemble decodes the instruction at the start of code, which lies at addr.
	Disassemble(addr uint64, code []byte) (text string, length int)
}
