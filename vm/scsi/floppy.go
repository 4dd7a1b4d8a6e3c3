package scsi

// geometry is how a disk is divided, and what a floppy drive has to know of it.
type geometry struct {
	cylinders, heads, sectors int
	rate                      uint16 // kbit/s
	rpm                       uint16
}

// floppies are the usual formats by their number of 512-byte sectors.
var floppies = map[uint64]geometry{
	320:  {40, 1, 8, 250, 300},
	360:  {40, 1, 9, 250, 300},
	640:  {40, 2, 8, 250, 300},
	720:  {40, 2, 9, 250, 300},
	1440: {80, 2, 9, 250, 300},
	2400: {80, 2, 15, 500, 360},
	2880: {80, 2, 18, 500, 300},
	3360: {80, 2, 21, 500, 300},
	3444: {82, 2, 21, 500, 300},
	5760: {80, 2, 36, 1000, 300},
}

// The geometry of a disk whose contents do not tell another.
const (
	usualHeads   = 16
	usualSectors = 63
	maxCylinders = 16383
	minCylinders = 2
	usualRate    = 5000
	usualRPM     = 5400
)

// geometryOf is the division of a medium with that many sectors.
func (u *Unit) geometry() geometry {
	n := u.blocks
	if u.kind == Floppy {
		if g, ok := floppies[n]; ok {
			return g
		}
		if n == 0 { // an empty drive: what it is made for
			return floppies[2880]
		}
	}
	cylinders := min(max(n/(usualHeads*usualSectors), minCylinders), maxCylinders)
	return geometry{int(cylinders), usualHeads, usualSectors, usualRate, usualRPM}
}

// Descriptor types of READ FORMAT CAPACITIES (MMC-6, 6.24.3).
const (
	formattedMedium = 2
	noMedium        = 3
)

// formatCapacities answers READ FORMAT CAPACITIES: the one that the medium has, or the largest
// that a drive without one takes.
func (u *Unit) formatCapacities(t *Task) {
	blocks, kind := u.blocks, byte(formattedMedium)
	if blocks == 0 {
		kind = noMedium
		if u.kind == Floppy {
			blocks = 5760
		}
	}
	n, size := uint32(min(blocks, 1<<32-1)), u.blockSize()
	b := []byte{
		0, 0, 0, 8,
		byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n),
		kind, byte(size >> 16), byte(size >> 8), byte(size),
	}
	t.reply(b, cdb(t.CDB).limit())
}
