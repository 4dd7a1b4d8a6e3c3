package virtio

import (
	"encoding/binary"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/vm"
)

// Where the scripted driver has things in RAM.
const (
	ramBase  = 0x80000000
	ramSize  = 1 << 20
	ringBase = ramBase + 0x1000 // descriptors, available ring, used ring from here
	dataBase = ramBase + 0x10000
	slotBase = 0x10008000
	diskSize = 64 << 10
)

// driver is a guest's driver in Go: it works the registers and rings of a slot as the
// specification says, and can be told to do it wrong.
type driver struct {
	t       *testing.T
	machine *vm.Machine
	slot    *Slot
	block   *Block
	drive   *blockdev.Drive
	disk    *blocktest.Memory
	level   bool // of the interrupt line

	queue             uint32 // the one that is used
	size              int
	desc, avail, used uint64
	nextDesc          int
	nextAvail         uint16
	seenUsed          uint16
}

// driverConfig says what a driver finds.
type driverConfig struct {
	modern   bool
	readOnly bool
	serial   string
	size     int // of the disk, diskSize if 0
	errors   blockdev.ErrorPolicy
	node     func(disk *blocktest.Memory) blockdev.Node // over the disk
	clock    *vm.Clock
}

func newDriver(t *testing.T, c driverConfig) *driver {
	t.Helper()
	if c.size == 0 {
		c.size = diskSize
	}
	d := &driver{t: t, machine: vm.New(vm.Config{Clock: c.clock}), disk: blocktest.NewMemory(make([]byte, c.size))}
	if _, err := d.machine.Memory().AddRAM("ram", ramBase, ramSize); err != nil {
		t.Fatal(err)
	}
	d.slot = NewSlot(SlotConfig{
		Memory: d.machine.Memory(), Base: slotBase, Bus: "virtio-mmio-bus.7", Legacy: !c.modern,
		Line: func(level bool) { d.level = level },
	})
	d.machine.AddDevice(d.slot)
	var node blockdev.Node = d.disk
	if c.node != nil {
		node = c.node(d.disk)
	}
	d.drive = newDrive(t, node, c)
	block, err := NewBlock(BlockConfig{Machine: d.machine, Slot: d.slot, Drive: d.drive, ID: "disk", Serial: c.serial})
	if err != nil {
		t.Fatal(err)
	}
	d.block = block
	d.machine.AddDevice(block)
	return d
}

func newDrive(t *testing.T, node blockdev.Node, c driverConfig) *blockdev.Drive {
	t.Helper()
	g := &blockdev.Graph{}
	v, err := g.Add(node, "", blockdev.Mode{Writable: !c.readOnly})
	if err != nil {
		t.Fatal(err)
	}
	drive := blockdev.NewDrive(blockdev.DriveConfig{Name: "d0", ReadOnly: c.readOnly, Errors: c.errors})
	if err := drive.Insert(v); err != nil {
		t.Fatal(err)
	}
	return drive
}

func (d *driver) read(off uint64) uint32 {
	d.t.Helper()
	v, err := d.slot.ReadMMIO(off, 4)
	if err != nil {
		d.t.Fatal(err)
	}
	return uint32(v)
}

func (d *driver) write(off uint64, v uint32) {
	d.t.Helper()
	if err := d.slot.WriteMMIO(off, 4, uint64(v)); err != nil {
		d.t.Fatal(err)
	}
}

// start negotiates features and sets up queue 0 with size descriptors.
func (d *driver) start(features uint64, size int) {
	d.t.Helper()
	d.negotiate(features)
	d.setUpQueue(size)
	d.write(regStatus, d.read(regStatus)|StatusDriverOK)
}

func (d *driver) negotiate(features uint64) {
	d.t.Helper()
	d.write(regStatus, 0)
	d.write(regStatus, StatusAcknowledge)
	d.write(regStatus, StatusAcknowledge|StatusDriver)
	status := uint32(StatusAcknowledge | StatusDriver)
	if d.read(regVersion) == 2 {
		features |= FeatureVersion1
		d.write(regGuestSelect, 1)
		d.write(regGuestFeatures, uint32(features>>32))
		status |= StatusFeaturesOK
	}
	d.write(regGuestSelect, 0)
	d.write(regGuestFeatures, uint32(features))
	d.write(regStatus, status)
	if d.read(regStatus) != status {
		d.t.Fatalf("status %#x after features", d.read(regStatus))
	}
}

func (d *driver) setUpQueue(size int) {
	d.t.Helper()
	d.size, d.nextDesc, d.nextAvail, d.seenUsed = size, 0, 0, 0
	d.put(ringBase, make([]byte, 0x4000))
	d.write(regQueueSelect, d.queue)
	d.write(regQueueSize, uint32(size))
	d.desc = ringBase
	d.avail = d.desc + 16*uint64(size)
	if d.read(regVersion) == 1 {
		d.write(regGuestPageSize, 4096)
		d.write(regQueueAlign, 4096)
		d.used = (d.avail + 6 + 2*uint64(size) + 4095) &^ 4095
		d.write(regQueuePage, uint32(d.desc/4096))
	} else {
		d.used = d.avail + 6 + 2*uint64(size) + 2
		for reg, v := range map[uint64]uint64{regQueueDescLow: d.desc, regQueueAvailLow: d.avail, regQueueUsedLow: d.used} {
			d.write(reg, uint32(v))
			d.write(reg+4, uint32(v>>32))
		}
		d.write(regQueueReady, 1)
	}
}

func (d *driver) put(addr uint64, p []byte) {
	d.t.Helper()
	if err := d.machine.Memory().Write(addr, p); err != nil {
		d.t.Fatal(err)
	}
}

func (d *driver) put16(addr uint64, v uint16) { d.put(addr, binary.LittleEndian.AppendUint16(nil, v)) }

func (d *driver) get(addr uint64, n int) []byte {
	d.t.Helper()
	p := make([]byte, n)
	if err := d.machine.Memory().Read(addr, p); err != nil {
		d.t.Fatal(err)
	}
	return p
}

func (d *driver) get16(addr uint64) uint16 { return binary.LittleEndian.Uint16(d.get(addr, 2)) }

// buf is one descriptor: n bytes at addr.
type buf struct {
	addr  uint64
	n     uint32
	flags uint16
}

func encodeDescriptor(b buf, flags, next uint16) []byte {
	p := binary.LittleEndian.AppendUint64(nil, b.addr)
	p = binary.LittleEndian.AppendUint32(p, b.n)
	p = binary.LittleEndian.AppendUint16(p, b.flags|flags)
	return binary.LittleEndian.AppendUint16(p, next)
}

// chain writes descriptors that follow each other and returns the first one's number.
func (d *driver) chain(bufs ...buf) uint16 {
	d.t.Helper()
	head := d.nextDesc
	for i, b := range bufs {
		flags := uint16(descNext)
		if i == len(bufs)-1 {
			flags = 0
		}
		d.put(d.desc+16*uint64(d.nextDesc), encodeDescriptor(b, flags, uint16((d.nextDesc+1)%d.size)))
		d.nextDesc = (d.nextDesc + 1) % d.size
	}
	return uint16(head)
}

// offer makes a chain available without telling the device.
func (d *driver) offer(head uint16) {
	d.t.Helper()
	d.put16(d.avail+4+2*uint64(int(d.nextAvail)%d.size), head)
	d.nextAvail++
	d.put16(d.avail+2, d.nextAvail)
}

func (d *driver) notify() {
	d.t.Helper()
	d.write(regQueueNotify, 0)
}

// used is one entry of the used ring.
type usedElem struct{ id, n uint32 }

// completed waits for the device and returns what it has returned since the last time.
func (d *driver) completed() []usedElem {
	d.t.Helper()
	d.block.Drain()
	var out []usedElem
	for idx := d.get16(d.used + 2); d.seenUsed != idx; d.seenUsed++ {
		e := d.get(d.used+4+8*uint64(int(d.seenUsed)%d.size), 8)
		out = append(out, usedElem{binary.LittleEndian.Uint32(e), binary.LittleEndian.Uint32(e[4:])})
	}
	return out
}

func header(kind uint32, sector uint64) []byte {
	p := binary.LittleEndian.AppendUint32(nil, kind)
	p = binary.LittleEndian.AppendUint32(p, 0)
	return binary.LittleEndian.AppendUint64(p, sector)
}

// Where a request has its parts.
const (
	headerAt = dataBase
	statusAt = dataBase + 0x100
	dataAt   = dataBase + 0x1000
	unset    = 0xee // a status that the device has not written
)

// request is the usual chain of three: header, data, status.
func (d *driver) request(kind uint32, sector uint64, n uint32, write bool) []buf {
	d.t.Helper()
	d.put(headerAt, header(kind, sector))
	d.put(statusAt, []byte{unset})
	bufs := []buf{{addr: headerAt, n: 16}}
	if n > 0 {
		b := buf{addr: dataAt, n: n}
		if write {
			b.flags = descWrite
		}
		bufs = append(bufs, b)
	}
	return append(bufs, buf{statusAt, 1, descWrite})
}

// do sends one request and returns its status and the used length.
func (d *driver) do(bufs ...buf) (status byte, n uint32) {
	d.t.Helper()
	d.offer(d.chain(bufs...))
	d.notify()
	done := d.completed()
	if len(done) != 1 {
		d.t.Fatalf("%d requests are complete, want 1 (status of the device %#x)", len(done), d.read(regStatus))
	}
	return d.get(statusAt, 1)[0], done[0].n
}

// bothTransports runs a test on both versions of the registers.
func bothTransports(t *testing.T, test func(t *testing.T, modern bool)) {
	t.Run("legacy", func(t *testing.T) { test(t, false) })
	t.Run("modern", func(t *testing.T) { test(t, true) })
}
