package virt

import (
	"fmt"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/serial"
	"github.com/qmon/qmon/vm"
	"github.com/qmon/qmon/vm/riscv"
	"github.com/qmon/qmon/vm/virtio"
)

const (
	// DefaultRAM is the board's memory unless told otherwise, in bytes.
	DefaultRAM = 128 << 20
	// MaxRAM keeps RAM within what a Go slice and a 39-bit address space can hold.
	MaxRAM = 64 << 30
	// pageSize is what RAM comes in.
	pageSize = 4096
)

// Config describes a board to be made.
type Config struct {
	Machine vm.Config // Type is "virt" if empty
	RAM     uint64    // bytes; 0 is DefaultRAM
	Boot    Boot
	Serial  serial.Chardev // the UART's other end, or nil
	RTC     RTC
	Disks   []Disk
	// Modern makes the virtio slots version 2: -global virtio-mmio.force-legacy=false.
	Modern bool
}

// Disk is a virtio-blk device: -device virtio-blk-device.
type Disk struct {
	Drive  *blockdev.Drive
	Bus    string // "virtio-mmio-bus.0"; "" for the free slot of the highest address
	ID     string // the user's id, or ""
	Serial string
	// Path is the name under which info block shows the device; "" for what QEMU would
	// call it.
	Path string
}

// Board is a machine of this type.
type Board struct {
	machine *vm.Machine
	hart    *riscv.Hart
	ram     *vm.Region
	timer   *mtimer
	plic    *plic
	uart    *uart
	slots   [Slots]*virtio.Slot
	hosts   []*virtio.SCSI
	unnamed int // disks and units without an id
}

// New makes a board, reset and ready for Run, in vm.StatePrelaunch.
func New(c Config) (*Board, error) {
	if c.Machine.Type == "" {
		c.Machine.Type = "virt"
	}
	if c.RAM == 0 {
		c.RAM = DefaultRAM
	}
	if c.RAM > MaxRAM || c.RAM%pageSize != 0 {
		return nil, fmt.Errorf("RAM of %d bytes: at most %d GiB, in pages of %d bytes", c.RAM, MaxRAM>>30, pageSize)
	}
	b := &Board{machine: vm.New(c.Machine)}
	if err := b.addMemory(c.RAM); err != nil {
		return nil, err
	}
	if err := b.addDevices(c); err != nil {
		return nil, err
	}
	for _, d := range c.Disks {
		if err := b.AddDisk(d); err != nil {
			return nil, err
		}
	}
	load, err := newLoader(b, c.Boot)
	if err != nil {
		return nil, err
	}
	b.machine.OnReset(load.reset)
	b.machine.Reset("")
	return b, nil
}

// Machine is what runs, and what the console works on.
func (b *Board) Machine() *vm.Machine { return b.machine }

// Hart is the board's processor.
func (b *Board) Hart() *riscv.Hart { return b.hart }

func (b *Board) addMemory(size uint64) error {
	memory := b.machine.Memory()
	if _, err := memory.AddROM("riscv_virt_board.mrom", romBase, romSize); err != nil {
		return err
	}
	ram, err := memory.AddRAM("riscv_virt_board.ram", RAMBase, size)
	b.ram = ram
	return err
}

// addDevices makes hart and devices in the order of the saved state.
func (b *Board) addDevices(c Config) error {
	m := b.machine
	b.timer = newMTimer(m.Clock(), func(level bool) { b.hart.SetInterrupt(riscv.LineMTIP, level) })
	b.hart = riscv.New(riscv.Config{ResetPC: romBase, Memory: m.Memory(), Time: b.timer.Time, Log: m.Log()})
	m.AddCPU(b.hart)
	m.AddDevice(hartArray{})

	software := &swi{line: b.hart.Interrupt(riscv.LineMSIP), pending: b.softwarePending}
	b.plic = newPLIC(b.hart.Interrupt(riscv.LineMEIP), b.hart.Interrupt(riscv.LineSEIP))
	finish := &finisher{machine: m}
	clock := newRTC(m.Clock(), b.plic.source(rtcIRQ), c.RTC)
	port, err := newUART(m, b.plic.source(uartIRQ), c.Serial)
	if err != nil {
		return err
	}
	b.uart = port
	b.add(swiBase, swiSize, "riscv.aclint.swi", software)
	b.add(mtimerBase, mtimerSize, "riscv.aclint.mtimer", b.timer)
	b.add(plicBase, plicSize, "riscv.sifive.plic", b.plic)
	b.add(finisherBase, finisherSize, "riscv.sifive.test", finish)
	for n := range b.slots {
		base := uint64(virtioBase + n*virtioStride)
		b.slots[n] = virtio.NewSlot(virtio.SlotConfig{
			Memory: m.Memory(),
			Line:   b.plic.source(virtioIRQ + n),
			Base:   base,
			Bus:    fmt.Sprintf("virtio-mmio-bus.%d", n),
			Legacy: !c.Modern,
			Log:    m.Log(),
		})
		b.add(base, virtioSize, "virtio-mmio", b.slots[n])
	}
	b.add(uartBase, uartSize, "serial", port)
	b.add(rtcBase, rtcSize, "goldfish_rtc", clock)
	m.SkipSections(absent...)
	return nil
}

// absent are the sections and RAM blocks in QEMU's saved state of things that this board
// has not: flash, PCI and the firmware configuration device.
var absent = []string{
	"virt.flash0", "virt.flash1", "pflash_cfi01",
	"0000:00:00.0/gpex_root", "PCIHost", "PCIBUS", "fw_cfg",
}

// mappedDevice is a device with registers.
type mappedDevice interface {
	vm.Device
	vm.MMIO
}

// add puts a device into the memory map, whose places are constants that do not overlap.
func (b *Board) add(base, size uint64, region string, d mappedDevice) {
	if _, err := b.machine.Memory().AddIO(region, base, size, d); err != nil {
		panic(err)
	}
	b.machine.AddDevice(d)
}

// softwarePending reads msip where it is: in the hart.
func (b *Board) softwarePending() bool {
	mip, _ := b.hart.Register("mip")
	return mip>>riscv.LineMSIP&1 != 0
}

// AddDisk puts a disk into a slot; before Run.
func (b *Board) AddDisk(d Disk) error {
	slot, err := b.slot(d.Bus, "virtio-blk-device")
	if err != nil {
		return err
	}
	disk, err := virtio.NewBlock(virtio.BlockConfig{
		Machine: b.machine, Slot: slot, Drive: d.Drive, ID: d.ID, Serial: d.Serial,
		Path: b.devicePath(d.Path, d.ID),
	})
	if err != nil {
		return err
	}
	b.machine.AddDevice(disk)
	return nil
}

// devicePath is the name under which info block shows a device: the one given, or what QEMU
// would call a device of that id.
func (b *Board) devicePath(path, id string) string {
	switch {
	case path != "":
		return path
	case id != "":
		return "/machine/peripheral/" + id
	}
	b.unnamed++
	return fmt.Sprintf("/machine/peripheral-anon/device[%d]", b.unnamed-1)
}

// slot finds the slot with the bus of that name, or a free one, for a device of a model.
func (b *Board) slot(bus, model string) (*virtio.Slot, error) {
	if bus == "" {
		for n := Slots - 1; n >= 0; n-- {
			if b.slots[n].Function() == nil {
				return b.slots[n], nil
			}
		}
		return nil, fmt.Errorf("No 'virtio-bus' bus found for device '%s'", model)
	}
	for _, s := range b.slots {
		if s.Bus() == bus {
			return s, nil
		}
	}
	return nil, fmt.Errorf("Bus '%s' not found", bus)
}

// hartArray is the harts in info qtree.
type hartArray struct{}

var _ vm.Described = hartArray{}

func (hartArray) Name() string       { return "riscv.hart_array" }
func (hartArray) Reset()             {}
func (hartArray) States() []vm.State { return nil }

func (hartArray) Describe() vm.Description {
	return vm.Description{
		Type: "riscv.hart_array",
		Properties: []vm.Property{
			vm.Number("num-harts", 1),
			vm.Number("hartid-base", 0),
			vm.Text("cpu-type", "rv64-riscv-cpu"),
			vm.Number("resetvec", romBase),
		},
	}
}
