package virtio

import (
	"fmt"

	"github.com/qmon/qmon/savevm/vmstate"
	"github.com/qmon/qmon/vm"
)

// sectionState is the section of a function and the slot it is in, as QEMU 7.2 has it:
// registers of the transport, then status, features, config space and queues, all in one
// opaque field.
type sectionState struct{ slot *Slot }

type sectionFields struct {
	Virtio deviceState `vmstate:"virtio,type=virtio"`
}

// deviceState has a layout of its own:
//
//	u32 host select, u32 guest select, u32 page shift (legacy)
//	u8 status, u8 interrupt status, u16 selected queue
//	u32 features (low half), u32 length, config space
//	u32 queues, each: u32 size, u32 align, u64 descriptors, u16 last available index
//	u8 0, where the function lists requests (a 1 would begin one in flight: machines are
//	drained before)
//	subsections
type deviceState struct {
	hostSelect, guestSelect, pageShift uint32

	listsRequests bool // not in the stream: the reader has to know

	status, interrupt byte
	queueSelect       uint16
	features          uint32
	config            []byte
	queues            []queueState

	more deviceMore
}

type queueState struct {
	size, align uint32
	desc        uint64
	lastAvail   uint16
}

// deviceMore are the subsections.
type deviceMore struct {
	Features *featuresState `vmstate:"virtio/64bit_features,subsection=1"`
	Rings    *ringsState    `vmstate:"virtio/virtqueues,subsection=1"`
	Sizes    *sizesState    `vmstate:"virtio/ringsize,subsection=1"`
	Broken   *brokenState   `vmstate:"virtio/broken,subsection=1"`
	Extra    *extraState    `vmstate:"virtio/extra_state,subsection=1"`
	Started  *startedState  `vmstate:"virtio/started,subsection=1"`
	Disabled *disabledState `vmstate:"virtio/disabled,subsection=1"`
}

type brokenState struct {
	Broken bool `vmstate:"broken"`
}

type featuresState struct {
	Features uint64 `vmstate:"guest_features"`
}

// ringsState is there for modern devices, whose rings lie anywhere.
type ringsState struct {
	Rings [maxQueueSize]ringState `vmstate:"vq,struct=virtqueue_state"`
}

type ringState struct {
	Avail uint64 `vmstate:"vring.avail"`
	Used  uint64 `vmstate:"vring.used"`
}

// sizesState are the sizes that the queues have by default, there if one has another.
type sizesState struct {
	Sizes [maxQueueSize]uint32 `vmstate:"vring.num_default"`
}

// extraState are the registers of a modern transport.
type extraState struct {
	MMIO transportState `vmstate:"extra_state,type=extra_state"`
}

// transportState is a structure of its own with one subsection.
type transportState struct {
	State *transportRegisters `vmstate:"virtio_mmio/state,subsection=1"`
}

type transportRegisters struct {
	Features [2]uint32                    `vmstate:"guest_features"`
	Queues   [maxQueueSize]queueRegisters `vmstate:"vqs,struct=virtio_mmio/queue_state"`
}

type queueRegisters struct {
	Size    uint16    `vmstate:"num"`
	Enabled bool      `vmstate:"enabled"`
	Desc    [2]uint32 `vmstate:"desc"`
	Avail   [2]uint32 `vmstate:"avail"`
	Used    [2]uint32 `vmstate:"used"`
}

type startedState struct {
	Started bool `vmstate:"started"`
}

type disabledState struct {
	Disabled bool `vmstate:"disabled"`
}

var (
	_ vm.State            = sectionState{}
	_ vmstate.Marshaler   = (*deviceState)(nil)
	_ vmstate.Unmarshaler = (*deviceState)(nil)
	_ vmstate.Marshaler   = (*transportState)(nil)
	_ vmstate.Unmarshaler = (*transportState)(nil)
)

func (t *transportState) MarshalVMState(e *vmstate.Encoder) error {
	return e.Struct("virtio_mmio", 1, t)
}

func (t *transportState) UnmarshalVMState(d *vmstate.Decoder) error {
	return d.Struct("virtio_mmio", 1, t)
}

func (s *deviceState) MarshalVMState(e *vmstate.Encoder) error {
	e.Uint32(s.hostSelect)
	e.Uint32(s.guestSelect)
	e.Uint32(s.pageShift)
	e.Uint8(s.status)
	e.Uint8(s.interrupt)
	e.Uint16(s.queueSelect)
	e.Uint32(s.features)
	e.Uint32(uint32(len(s.config)))
	e.Bytes(s.config)
	e.Uint32(uint32(len(s.queues)))
	for _, q := range s.queues {
		e.Uint32(q.size)
		e.Uint32(q.align)
		e.Uint64(q.desc)
		e.Uint16(q.lastAvail)
	}
	if s.listsRequests {
		e.Uint8(0)
	}
	return e.Struct("virtio", 1, &s.more)
}

// maxSavedConfig bounds the config space in a stream: the largest of QEMU's devices is
// smaller.
const maxSavedConfig = 4096

func (s *deviceState) UnmarshalVMState(d *vmstate.Decoder) error {
	s.hostSelect, s.guestSelect, s.pageShift = d.Uint32(), d.Uint32(), d.Uint32()
	s.status, s.interrupt, s.queueSelect = d.Uint8(), d.Uint8(), d.Uint16()
	s.features = d.Uint32()
	n := d.Uint32()
	if n > maxSavedConfig {
		return fmt.Errorf("config space of %d bytes", n)
	}
	s.config = make([]byte, n)
	d.Fill(s.config)
	n = d.Uint32()
	if d.Err() != nil {
		return d.Err()
	}
	if n > maxQueueSize {
		return fmt.Errorf("%d queues", n)
	}
	s.queues = make([]queueState, n)
	for i := range s.queues {
		s.queues[i] = queueState{size: d.Uint32(), align: d.Uint32(), desc: d.Uint64(), lastAvail: d.Uint16()}
	}
	if s.listsRequests && d.Uint8() != 0 {
		return fmt.Errorf("requests in flight cannot be loaded")
	}
	return d.Struct("virtio", 1, &s.more)
}

// accepted are the features that the driver took.
func (s *deviceState) accepted() uint64 {
	if s.more.Features != nil {
		return s.more.Features.Features
	}
	return uint64(s.features)
}

func (s sectionState) Section() vm.Section {
	f := s.slot.function
	return vm.Section{
		Name:    s.slot.Name() + "/" + f.Type(),
		Version: f.Version(), MinVersion: f.Version(),
	}
}

func (s sectionState) New() any {
	return &sectionFields{deviceState{listsRequests: s.slot.function.ListsRequests()}}
}

// Save implements vm.State. The function has been drained: none of its requests is in
// flight.
func (s sectionState) Save() (any, error) {
	slot := s.slot
	d := deviceState{
		hostSelect: slot.hostSelect, guestSelect: slot.guestSelect, pageShift: slot.pageShift,
		status: slot.status, interrupt: slot.interrupt, queueSelect: slot.queueSelect,
		features:      uint32(slot.features),
		listsRequests: slot.function.ListsRequests(),
		config:        slot.function.Config(),
	}
	d.more.Features = &featuresState{slot.features}
	d.more.Started = &startedState{slot.status&StatusDriverOK != 0}
	if slot.broken {
		d.more.Broken = &brokenState{true}
	}
	for _, q := range slot.queues {
		if q.inFlight != 0 {
			return nil, fmt.Errorf("%s: %d requests are in flight", slot.Name(), q.inFlight)
		}
		d.queues = append(d.queues, queueState{uint32(q.size), q.align, q.desc, q.lastAvail})
	}
	s.saveSizes(&d.more)
	if !slot.legacy {
		s.saveModern(&d.more)
	}
	return &sectionFields{d}, nil
}

func (s sectionState) saveSizes(more *deviceMore) {
	for _, q := range s.slot.queues {
		if q.size != q.def {
			more.Sizes = &sizesState{}
		}
	}
	if more.Sizes != nil {
		for i, q := range s.slot.queues {
			more.Sizes.Sizes[i] = uint32(q.def)
		}
	}
}

func (s sectionState) saveModern(more *deviceMore) {
	more.Rings = &ringsState{}
	r := &transportRegisters{Features: halves(s.slot.features)}
	for i, q := range s.slot.queues {
		more.Rings.Rings[i] = ringState{q.avail, q.used}
		r.Queues[i] = queueRegisters{
			Size: uint16(q.size), Enabled: q.ready,
			Desc: halves(q.desc), Avail: halves(q.avail), Used: halves(q.used),
		}
	}
	more.Extra = &extraState{transportState{r}}
}

func halves(v uint64) [2]uint32 { return [2]uint32{uint32(v), uint32(v >> 32)} }

// Check implements vm.State.
func (s sectionState) Check(state any, _ uint32) error {
	d := &state.(*sectionFields).Virtio
	if d.more.Disabled != nil && d.more.Disabled.Disabled {
		return fmt.Errorf("a disabled device cannot be loaded")
	}
	if len(d.queues) != len(s.slot.queues) {
		return fmt.Errorf("%d queues in the stream, %d here", len(d.queues), len(s.slot.queues))
	}
	for i, q := range d.queues {
		if q.size > maxQueueSize || q.size&(q.size-1) != 0 || q.align&(q.align-1) != 0 {
			return fmt.Errorf("queue %d: size %d, alignment %d", i, q.size, q.align)
		}
	}
	if d.pageShift > 63 {
		return fmt.Errorf("page size of 1<<%d", d.pageShift)
	}
	if extra := d.accepted() &^ s.slot.offered(); extra != 0 {
		return fmt.Errorf("features %#x of the stream are not offered here", extra)
	}
	modern := d.more.Extra != nil && d.more.Extra.MMIO.State != nil
	if modern == s.slot.legacy {
		return fmt.Errorf("the stream's transport is of another version (force-legacy)")
	}
	return nil
}

// Load implements vm.State. RAM has been loaded: the used rings tell how far they are.
func (s sectionState) Load(state any, _ uint32) error {
	slot, d := s.slot, &state.(*sectionFields).Virtio
	slot.resetFunction()
	slot.hostSelect, slot.guestSelect, slot.pageShift = d.hostSelect, d.guestSelect, d.pageShift
	slot.status, slot.interrupt, slot.queueSelect = d.status, d.interrupt, d.queueSelect
	slot.features = d.accepted()
	slot.broken = d.more.Broken != nil && d.more.Broken.Broken
	for i, q := range slot.queues {
		from := d.queues[i]
		if from.size != 0 {
			q.size = int(from.size)
		}
		q.align, q.desc, q.lastAvail = max(from.align, 1), from.desc, from.lastAvail
		if slot.legacy {
			q.layOut()
			q.ready = q.desc != 0
		} else {
			r := d.more.Extra.MMIO.State.Queues[i]
			q.avail, q.used, q.ready = join(r.Avail), join(r.Used), r.Enabled
		}
		q.usedIdx = q.lastAvail
		if q.ready && slot.status&StatusDriverOK != 0 && !slot.broken {
			q.loadUsedIndex()
		}
	}
	slot.function.LoadConfig(d.config)
	slot.update()
	return nil
}

func join(halves [2]uint32) uint64 { return uint64(halves[1])<<32 | uint64(halves[0]) }

// loadUsedIndex takes the used index from the ring. All chains taken have been returned,
// so it has to be where the available ring has been read to.
func (q *Queue) loadUsedIndex() {
	used, ok := q.load16(q.used + usedIdx)
	if !ok {
		return
	}
	q.usedIdx = used
	if used != q.lastAvail {
		q.slot.fail("queue %d of the stream: %d chains are missing", q.index, q.lastAvail-used)
	}
}
