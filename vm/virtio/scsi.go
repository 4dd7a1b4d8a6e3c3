package virtio

import (
	"encoding/binary"

	"github.com/qmon/qmon/vm"
	"github.com/qmon/qmon/vm/scsi"
)

// Feature bits of the SCSI host device (section 5.6.3).
const (
	scsiHotplug = 1 << 1
	scsiChange  = 1 << 2
)

// Queues of the SCSI host device (section 5.6.2).
const (
	scsiControlQueue = iota
	scsiEventQueue
	scsiRequestQueue
	scsiQueues

	scsiQueueSize = 256
)

// SCSIConfig describes a SCSI host to be made.
type SCSIConfig struct {
	Machine *vm.Machine
	Slot    *Slot
	ID      string // the user's id, may be empty
	// Bus is the name of the bus that units are on; "" makes one from ID.
	Bus string
}

// SCSI is a virtio SCSI host device: a bus of units.
type SCSI struct {
	machine *vm.Machine
	slot    *Slot
	id      string
	name    string // of the bus
	bus     scsi.Bus

	senseSize, cdbSize uint32 // as the driver wants them
	missed             bool   // an event that there was no buffer for
	pool               workers
}

var (
	_ vm.Device  = (*SCSI)(nil)
	_ vm.Drainer = (*SCSI)(nil)
	_ Function   = (*SCSI)(nil)
)

// NewSCSI makes a host without units and puts it into its slot.
func NewSCSI(c SCSIConfig) (*SCSI, error) {
	s := &SCSI{machine: c.Machine, slot: c.Slot, id: c.ID, name: c.Bus}
	if s.name == "" {
		s.name = c.ID + ".0"
	}
	s.pool.init(c.Machine)
	s.Reset()
	if err := c.Slot.Plug(s); err != nil {
		return nil, err
	}
	s.pool.retryOnResume(c.Slot, s)
	return s, nil
}

// Bus is the name of the bus.
func (s *SCSI) Bus() string { return s.name }

// FreeTarget is the lowest target without units.
func (s *SCSI) FreeTarget() int { return s.bus.FreeTarget() }

// maxTarget and maxLUN are the highest addresses, as the config space tells.
const (
	maxTarget = 255
	maxLUN    = 16383
)

// AddUnit makes a unit on the bus. Machine, Host and Changed of c are the host's own. A guest
// that is there already is told; then it has to be called on the machine's goroutine.
func (s *SCSI) AddUnit(c scsi.Config) (*scsi.Unit, error) {
	c.Machine, c.Host = s.machine, s.slot.Name()
	c.Changed = func() { s.event(eventParameters, c.Address, reasonCapacity) }
	u, err := scsi.New(c)
	if err != nil {
		return nil, err
	}
	if err := s.bus.Add(u); err != nil {
		u.Detach()
		return nil, err
	}
	s.machine.AddDevice(u)
	s.event(eventReset, c.Address, reasonRescan)
	return u, nil
}

// Name implements vm.Device.
func (s *SCSI) Name() string { return s.slot.Name() + "/virtio-scsi" }

// Type implements Function.
func (s *SCSI) Type() string { return "virtio-scsi" }

// Version implements Function.
func (s *SCSI) Version() uint32 { return 1 }

// ListsRequests implements Function: units list theirs.
func (s *SCSI) ListsRequests() bool { return false }

// ID implements Function.
func (s *SCSI) ID() uint32 { return 8 }

// QueueSizes implements Function.
func (s *SCSI) QueueSizes() []int {
	sizes := make([]int, scsiQueues)
	for i := range sizes {
		sizes[i] = scsiQueueSize
	}
	return sizes
}

// Features implements Function.
func (s *SCSI) Features() uint64 { return scsiHotplug | scsiChange }

// The config space (section 5.6.4).
const (
	scsiConfigSize = 36
	cfgSenseSize   = 20
	cfgCDBSize     = 24

	scsiMaxSectors   = 0xffff
	scsiPerUnit      = 128
	defaultSenseSize = 96
	defaultCDBSize   = 32
	// What drivers may make of them; QEMU has the same limits.
	maxSenseSize = 1<<16 - 1
	maxCDBSize   = 255
	minCDBSize   = 16 // shorter commands are filled up
)

// Config implements Function.
func (s *SCSI) Config() []byte {
	c := make([]byte, scsiConfigSize)
	le := binary.LittleEndian
	le.PutUint32(c[0:], scsiQueues-scsiRequestQueue)
	le.PutUint32(c[4:], scsiQueueSize-2)
	le.PutUint32(c[8:], scsiMaxSectors)
	le.PutUint32(c[12:], scsiPerUnit)
	le.PutUint32(c[16:], eventSize)
	le.PutUint32(c[cfgSenseSize:], s.senseSize)
	le.PutUint32(c[cfgCDBSize:], s.cdbSize)
	le.PutUint16(c[28:], 0) // highest channel
	le.PutUint16(c[30:], maxTarget)
	le.PutUint32(c[32:], maxLUN)
	return c
}

// WriteConfig implements Function: a driver may choose how long sense data and commands are.
func (s *SCSI) WriteConfig(off int, p []byte) {
	c := s.Config()
	copy(c[off:], p)
	if !s.takeSizes(c) {
		s.slot.fail("sense data of %d and commands of %d bytes",
			binary.LittleEndian.Uint32(c[cfgSenseSize:]), binary.LittleEndian.Uint32(c[cfgCDBSize:]))
	}
}

func (s *SCSI) takeSizes(c []byte) bool {
	sense, cdb := binary.LittleEndian.Uint32(c[cfgSenseSize:]), binary.LittleEndian.Uint32(c[cfgCDBSize:])
	if sense > maxSenseSize || cdb > maxCDBSize {
		return false
	}
	s.senseSize, s.cdbSize = sense, cdb
	return true
}

// LoadConfig implements Function. A config space that no driver has looked at may be zeroes.
func (s *SCSI) LoadConfig(c []byte) {
	if len(c) >= scsiConfigSize && binary.LittleEndian.Uint32(c) != 0 {
		s.takeSizes(c)
	}
}

// Notify implements Function.
func (s *SCSI) Notify(q *Queue) {
	switch q.Index() {
	case scsiEventQueue:
		if s.missed {
			s.event(eventNone, scsi.Address{}, 0)
		}
		return
	case scsiControlQueue:
		s.pool.serve(q, s.control)
	default:
		s.pool.serve(q, s.request)
	}
}

// Drain implements vm.Drainer.
func (s *SCSI) Drain() { s.pool.drain() }

// Reset implements both vm.Device and Function.
func (s *SCSI) Reset() {
	s.pool.drop()
	s.missed = false
	s.senseSize, s.cdbSize = defaultSenseSize, defaultCDBSize
	for _, u := range s.bus.Units() {
		u.Reset()
	}
}

// States implements vm.Device: one section for the device and its slot.
func (s *SCSI) States() []vm.State { return []vm.State{sectionState{s.slot}} }

// Description implements Function.
func (s *SCSI) Description() vm.Description {
	bus := vm.Bus{Name: s.name, Type: "SCSI"}
	for _, u := range s.bus.Units() {
		// The newest comes first, as QEMU has it.
		bus.Devices = append([]vm.Description{u.Description()}, bus.Devices...)
	}
	return vm.Description{
		Type: "virtio-scsi-device",
		ID:   s.id,
		Properties: []vm.Property{
			vm.Number("num_queues", scsiQueues-scsiRequestQueue),
			vm.Number("virtqueue_size", scsiQueueSize),
			vm.Boolean("seg_max_adjust", true),
			vm.Number("max_sectors", scsiMaxSectors),
			vm.Number("cmd_per_lun", scsiPerUnit),
			vm.Boolean("hotplug", true),
			vm.Boolean("param_change", true),
			vm.Boolean("indirect_desc", true),
			vm.Boolean("event_idx", true),
			vm.Boolean("notify_on_empty", true),
			vm.Boolean("any_layout", true),
			vm.Boolean("iommu_platform", false),
			vm.Boolean("packed", false),
			vm.Boolean("queue_reset", true),
			vm.Boolean("use-started", true),
			vm.Boolean("use-disabled-flag", true),
			vm.Boolean("x-disable-legacy-check", false),
		},
		Buses: []vm.Bus{bus},
	}
}
