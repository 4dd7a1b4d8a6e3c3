package vmstate

// What the stream consists of.
const (
	magic         = 0x5145564d // QEVM
	streamVersion = 3

	kindEOF           = 0x00
	kindStart         = 0x01
	kindPart          = 0x02
	kindEnd           = 0x03
	kindFull          = 0x04
	kindSubsection    = 0x05
	kindDescription   = 0x06
	kindConfiguration = 0x07
	kindFooter        = 0x7e
)

// The RAM section consists of records: a page's address in its block with flags in the
// bits that are zero in a page address.
const (
	ramName    = "ram"
	ramVersion = 4

	pageSize = 4096

	ramFill     = 0x02 // a byte that fills the page
	ramSizes    = 0x04 // address bits: the sum of all blocks; names and sizes follow
	ramPage     = 0x08 // the page
	ramEnd      = 0x10 // of the section
	ramContinue = 0x20 // same block as before: no name follows
)

// Limits on what a stream may say. Nothing is allocated for it before.
const (
	// maxName is the length of the longest name: one byte says it.
	maxName = 255
	// maxMachine is the longest machine type that is read; QEMU's are below 40 bytes.
	maxMachine = 255
	// maxBlocks bounds the RAM blocks: a machine has as many as memories and ROMs.
	maxBlocks = 1024
	// maxDescription bounds the JSON text; a machine with hundreds of devices has some
	// hundred kilobytes.
	maxDescription = 8 << 20
	// maxSkip bounds the length of a section that is skipped on the description's word.
	maxSkip = 1 << 30
)

// streamBuffer is how much is read and written at once: large enough to make sequential
// I/O of it, small beside any machine's RAM.
const streamBuffer = 1 << 20

// Block is a range of memory that is part of the machine's state.
type Block struct {
	Name string // unique: "riscv_virt_board.ram"
	Data []byte
	// Optional blocks keep what they hold where the stream has none of that name.
	Optional bool
	// Wrote is told about changes of Data; it may be nil.
	Wrote func(off, n uint64)
}

// Progress is called now and then with the bytes of RAM done and to be done.
type Progress func(done, total int64)
