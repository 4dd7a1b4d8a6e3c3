package virtio

import (
	"encoding/binary"
	"fmt"

	"github.com/qmon/qmon/vm"
)

// Function is a kind of device behind a slot. All methods are called on the machine's
// goroutine.
type Function interface {
	// Type is the device's type as the saved state names it: "virtio-blk".
	Type() string
	// Version is that of the device's section in the saved state.
	Version() uint32
	// ListsRequests tells if that section has a list of requests in flight.
	ListsRequests() bool
	// ID is the virtio device number (section 5).
	ID() uint32
	// Features are the bits below 24 that the device offers.
	Features() uint64
	// QueueSizes are the sizes of the device's queues before a driver chooses others.
	QueueSizes() []int
	// Config is the present contents of the config space.
	Config() []byte
	// WriteConfig is told what the driver wrote into the config space.
	WriteConfig(off int, p []byte)
	// LoadConfig takes over what a driver can have changed in a config space that was
	// saved, of any length.
	LoadConfig(c []byte)
	// Notify says that there are new buffers in the queue, or may be.
	Notify(q *Queue)
	// Reset drops all requests, those in flight too: none touches a queue after it.
	Reset()
	// Description is the device as info qtree shows it below its slot. (A vm.Described
	// would be shown beside it.)
	Description() vm.Description
}

// Feature bits of the transport and the rings (section 6, and 6.3 for the legacy ones).
const (
	FeatureNotifyOnEmpty = 1 << 24
	FeatureIndirect      = 1 << 28
	FeatureEventIdx      = 1 << 29
	FeatureVersion1      = 1 << 32
	FeatureRingReset     = 1 << 40
)

// Bits of the device status (section 2.1).
const (
	StatusAcknowledge = 1
	StatusDriver      = 2
	StatusDriverOK    = 4
	StatusFeaturesOK  = 8
	StatusNeedsReset  = 0x40
	StatusFailed      = 0x80
)

// Bits of the interrupt status.
const (
	interruptRing   = 1
	interruptConfig = 2
)

// Slot is one virtio-mmio register file and the function in it.
type Slot struct {
	memory *vm.Memory
	log    *vm.Log
	line   vm.IRQ
	base   uint64
	bus    string // "virtio-mmio-bus.0"
	legacy bool

	function Function // nil: nobody there
	queues   []*Queue

	status      byte
	interrupt   byte
	hostSelect  uint32
	guestSelect uint32
	features    uint64 // accepted by the driver
	pageShift   uint32
	queueSelect uint16
	generation  uint32
	broken      bool // the guest broke a rule
}

var (
	_ vm.Device    = (*Slot)(nil)
	_ vm.MMIO      = (*Slot)(nil)
	_ vm.Described = (*Slot)(nil)
)

// SlotConfig describes a slot to be made.
type SlotConfig struct {
	Memory *vm.Memory
	Line   vm.IRQ
	Base   uint64  // address of the registers
	Bus    string  // name of the bus in it
	Legacy bool    // version 1 of the registers
	Log    *vm.Log // is told what guests do wrong; may be nil
}

// NewSlot makes an empty slot.
func NewSlot(c SlotConfig) *Slot {
	return &Slot{memory: c.Memory, line: c.Line, base: c.Base, bus: c.Bus, legacy: c.Legacy, log: c.Log}
}

// Plug puts a function in; before the machine runs.
func (s *Slot) Plug(f Function) error {
	if s.function != nil {
		return fmt.Errorf("Bus '%s' is full", s.bus)
	}
	s.function = f
	for i, n := range f.QueueSizes() {
		s.queues = append(s.queues, newQueue(s, i, n))
	}
	return nil
}

// Bus is the name of the slot's bus.
func (s *Slot) Bus() string { return s.bus }

// Function is what is in the slot, nil for nothing.
func (s *Slot) Function() Function { return s.function }

// Name implements vm.Device.
func (s *Slot) Name() string { return fmt.Sprintf("virtio-mmio@%016x", s.base) }

// Reset implements vm.Device.
func (s *Slot) Reset() {
	s.hostSelect, s.guestSelect, s.pageShift, s.queueSelect = 0, 0, 0, 0
	s.resetFunction()
}

// resetFunction is what a driver gets by writing 0 to the status.
func (s *Slot) resetFunction() {
	if s.function != nil {
		s.function.Reset()
	}
	for _, q := range s.queues {
		q.reset()
	}
	s.status, s.interrupt, s.features, s.broken = 0, 0, 0, false
	s.update()
}

func (s *Slot) update() { s.line(s.interrupt != 0) }

func (s *Slot) raise(bits byte) {
	s.interrupt |= bits
	s.update()
}

// running tells if the driver has said that the device may work.
func (s *Slot) running() bool { return s.status&StatusDriverOK != 0 && !s.broken }

// has tells if the driver accepted a feature.
func (s *Slot) has(feature uint64) bool { return s.features&feature != 0 }

// offered is what the driver may choose from.
func (s *Slot) offered() uint64 {
	f := s.function.Features() | FeatureIndirect | FeatureEventIdx
	if s.legacy {
		return f | FeatureNotifyOnEmpty
	}
	return f | FeatureVersion1 | FeatureRingReset
}

// fail stops the device because the guest broke a rule of the specification.
func (s *Slot) fail(format string, args ...any) {
	if s.broken {
		return
	}
	s.log.Printf(vm.LogGuestErrors, "%s/%s: %s", s.Name(), s.function.Type(), fmt.Sprintf(format, args...))
	s.broken = true
	if s.has(FeatureVersion1) {
		s.status |= StatusNeedsReset
		s.configChanged()
	}
}

// configChanged tells a driver that the config space or the status is another.
func (s *Slot) configChanged() {
	if s.status&StatusDriverOK == 0 {
		return
	}
	s.generation++
	s.raise(interruptConfig)
}

// readConfig reads size bytes of the config space, little-endian; behind its end all bits
// are zero.
func (s *Slot) readConfig(off uint64, size int) uint64 {
	var b [8]byte
	if c := s.function.Config(); off < uint64(len(c)) {
		copy(b[:size], c[off:])
	}
	return binary.LittleEndian.Uint64(b[:])
}

func (s *Slot) writeConfig(off uint64, size int, v uint64) {
	if n := uint64(len(s.function.Config())); off >= n || uint64(size) > n-off {
		return
	}
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], v)
	s.function.WriteConfig(int(off), b[:size])
}

// Describe implements vm.Described.
func (s *Slot) Describe() vm.Description {
	bus := vm.Bus{Name: s.bus, Type: "virtio-mmio-bus"}
	if s.function != nil {
		bus.Devices = []vm.Description{s.function.Description()}
	}
	return vm.Description{
		Type: "virtio-mmio",
		GPIO: []vm.GPIO{{Out: true, Name: "sysbus-irq", Lines: 1}},
		Properties: []vm.Property{
			vm.Boolean("format_transport_address", true),
			vm.Boolean("force-legacy", s.legacy),
			vm.Boolean("ioeventfd", false),
		},
		MMIO:  []vm.MMIORange{{Base: s.base, Size: SlotSize}},
		Buses: []vm.Bus{bus},
	}
}

// States implements vm.Device: what a slot has to keep is in the section of its function,
// and an empty one has nothing.
func (s *Slot) States() []vm.State { return nil }
