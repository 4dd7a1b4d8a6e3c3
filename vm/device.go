package vm

// Device is anything on the board besides processors and memory.
type Device interface {
	// Name is unique on the machine: "serial0", "virtio-mmio@10008000".
	Name() string
	// Reset puts the device into its power-on state.
	Reset()
	// States are the sections that hold the device's state. A device with nothing to
	// keep says so by returning nil.
	States() []State
}

// Drainer is a device whose requests run beside the processors (a disk).
type Drainer interface {
	// Drain waits until none is in flight and delivers their results. On the machine's
	// goroutine.
	Drain()
}

// MMIO is the register file of a device. Offsets are bytes from the region's start, size
// is 1, 2, 4 or 8 and off is aligned to it; values are little-endian integers. An error
// is a bus error for the guest.
type MMIO interface {
	ReadMMIO(off uint64, size int) (uint64, error)
	WriteMMIO(off uint64, size int, v uint64) error
}

// IRQ is one end of an interrupt line: calling it sets the level.
type IRQ func(level bool)

// Described devices show up in info qtree.
type Described interface {
	Describe() Description
}

// Description is a device as info qtree shows it.
type Description struct {
	Type       string // "virtio-mmio"
	ID         string
	Properties []Property // in order
	GPIO       []GPIO
	MMIO       []MMIORange
	Buses      []Bus
}

// Property is one line of a device's description.
type Property struct{ Name, Value string }

// GPIO is a group of interrupt lines: "gpio-out "sysbus-irq" 1".
type GPIO struct {
	Out   bool
	Name  string
	Lines int
}

// MMIORange is a window of a device in the memory map.
type MMIORange struct{ Base, Size uint64 }

// Bus of a device, with the devices on it.
type Bus struct {
	Name, Type string
	Devices    []Description
}
