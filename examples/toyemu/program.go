package main

// Memory map: 4 KiB of RAM with the program at 0 and a sector buffer, and the devices.
const (
	ramBytes     = 0x1000
	bufferAt     = 0x800 // the counter is the buffer's first word
	consoleAt    = 0x2000
	disksAt      = 0x3000
	disksApart   = 0x100
	regConsole   = 1
	regBuffer    = 2
	regDisk      = 3
	regCharacter = 4
	regWanted    = 5
	regValue     = 6
)

// program is what the toy runs: for each typed character,
//
//   - adds one to a counter in memory
//     p  prints the counter as a digit
//     w  writes the counter to sector 0 of both disks
//     r  reads it back from the second disk
func program() []byte {
	a := &assembler{labels: map[string]int{}}
	a.address(regConsole, consoleAt)
	a.address(regBuffer, bufferAt)
	a.address(regDisk, disksAt)

	a.label("next")
	a.emit(opLoad, regCharacter, regConsole, consoleReceive)
	a.emit(opSet, regWanted, 0, 0)
	a.emit(opEqual, regCharacter, regWanted, 0)
	a.jump("idle")
	for _, key := range "+pwr" {
		a.emit(opSet, regWanted, 0, int(key)+1)
		a.emit(opEqual, regCharacter, regWanted, 0)
		a.jump(string(key))
	}
	a.jump("next")

	a.label("idle")
	a.emit(opHalt, 0, 0, 0)
	a.jump("next")

	a.label("+")
	a.emit(opLoad, regValue, regBuffer, 0)
	a.emit(opSet, regWanted, 0, 1)
	a.emit(opAdd, regValue, regWanted, 0)
	a.emit(opStore, regValue, regBuffer, 0)
	a.jump("next")

	a.label("p")
	a.emit(opLoad, regValue, regBuffer, 0)
	a.emit(opSet, regWanted, 0, '0')
	a.emit(opAdd, regValue, regWanted, 0)
	a.emit(opStore, regValue, regConsole, consoleSend)
	a.jump("next")

	a.label("w")
	a.command(0, diskWrite)
	a.command(1, diskWrite)
	a.jump("next")

	a.label("r")
	a.command(1, diskRead)
	a.jump("next")
	return a.link()
}

// assembler collects instructions and fills in jumps.
type assembler struct {
	code   []byte
	labels map[string]int // instruction numbers
	jumps  map[int]string // instruction number to label
}

func (a *assembler) emit(op, x, y, constant int) {
	a.code = append(a.code, instruction(op, x, y, constant)...)
}

func (a *assembler) label(name string) { a.labels[name] = len(a.code) / wordBytes }

func (a *assembler) jump(to string) {
	if a.jumps == nil {
		a.jumps = map[int]string{}
	}
	a.jumps[len(a.code)/wordBytes] = to
	a.emit(opJump, 0, 0, 0)
}

// address sets a register to a multiple of 256.
func (a *assembler) address(reg, at int) {
	a.emit(opSet, reg, 0, at>>8)
	a.emit(opShift, reg, 0, 8)
}

// command moves sector 0 between the buffer and a disk.
func (a *assembler) command(disk, command int) {
	a.address(regDisk, disksAt+disk*disksApart)
	a.emit(opStore, regBuffer, regDisk, diskAddress)
	a.emit(opSet, regWanted, 0, 0)
	a.emit(opStore, regWanted, regDisk, diskSector)
	a.emit(opSet, regWanted, 0, command)
	a.emit(opStore, regWanted, regDisk, diskCommand)
}

func (a *assembler) link() []byte {
	for at, to := range a.jumps {
		copy(a.code[at*wordBytes:], instruction(opJump, 0, 0, a.labels[to]))
	}
	return a.code
}
