package virtio

import (
	"encoding/binary"

	"github.com/qmon/qmon/vm"
)

const (
	// maxQueueSize is the most descriptors that a queue, or an indirect table, may have:
	// what QEMU's transport allows. It bounds the work and memory for one chain.
	maxQueueSize = 1024
	// legacyAlign is how the used ring of a legacy queue is aligned by default.
	legacyAlign = 4096

	descSize     = 16 // le64 address, le32 length, le16 flags, le16 next
	descNext     = 1
	descWrite    = 2
	descIndirect = 4

	availFlags   = 0 // le16 flags, le16 idx, le16 ring[size], le16 used_event
	availIdx     = 2
	availRing    = 4
	availNoIntr  = 1
	usedIdx      = 2 // le16 flags, le16 idx, {le32 id, le32 len} ring[size], le16 avail_event
	usedRing     = 4
	usedElemSize = 8
)

// Queue is a split virtqueue (section 2.7): the driver puts heads of descriptor chains
// into the available ring, the device returns them in the used ring.
type Queue struct {
	slot  *Slot
	index int
	def   int // size before a driver chooses another

	size              int
	align             uint32 // legacy
	ready             bool
	desc, avail, used uint64

	lastAvail uint16 // next entry of the available ring to take
	usedIdx   uint16 // next entry of the used ring to fill
	inFlight  int

	signalled      uint16 // usedIdx at the last interrupt
	signalledValid bool
}

func newQueue(s *Slot, index, size int) *Queue {
	q := &Queue{slot: s, index: index, def: size}
	q.reset()
	return q
}

// Index is the queue's number.
func (q *Queue) Index() int { return q.index }

func (q *Queue) reset() {
	*q = Queue{slot: q.slot, index: q.index, def: q.def, size: q.def, align: legacyAlign}
}

// resize takes the size a driver chose: a power of two (section 2.7).
func (q *Queue) resize(n uint32) {
	if n == 0 || n > maxQueueSize || n&(n-1) != 0 {
		return
	}
	q.size = int(n)
	if q.slot.legacy {
		q.layOut()
	}
}

// layOut places the rings of a legacy queue behind its descriptors (section 2.7.2).
func (q *Queue) layOut() {
	n := uint64(q.size)
	q.avail = q.desc + descSize*n
	end := q.avail + availRing + 2*n + 2
	align := uint64(q.align)
	q.used = (end + align - 1) &^ (align - 1)
}

// ram is n bytes of RAM at addr in place, nil if they are not all there.
func (q *Queue) ram(addr, n uint64) (*vm.Region, []byte) {
	r, b := q.slot.memory.Bytes(addr, n)
	if r == nil || r.Kind != vm.RegionRAM {
		return nil, nil
	}
	return r, b
}

// load16 reads a ring's field.
func (q *Queue) load16(addr uint64) (uint16, bool) {
	_, b := q.ram(addr, 2)
	if b == nil {
		q.slot.fail("ring of queue %d is not in RAM: %#x", q.index, addr)
		return 0, false
	}
	return binary.LittleEndian.Uint16(b), true
}

// store16 writes a ring's field.
func (q *Queue) store16(addr uint64, v uint16) {
	r, b := q.ram(addr, 2)
	if b == nil {
		q.slot.fail("ring of queue %d is not in RAM: %#x", q.index, addr)
		return
	}
	binary.LittleEndian.PutUint16(b, v)
	r.Wrote(addr-r.Base, 2)
}

// Pop takes the next chain that the driver has made available, nil if there is none.
func (q *Queue) Pop() *Chain {
	if !q.slot.running() || !q.ready {
		return nil
	}
	idx, ok := q.load16(q.avail + availIdx)
	if !ok {
		return nil
	}
	if int(idx-q.lastAvail) > q.size {
		q.slot.fail("available ring of queue %d jumps from %d to %d", q.index, q.lastAvail, idx)
		return nil
	}
	if idx == q.lastAvail {
		return nil
	}
	if q.inFlight >= q.size {
		q.slot.fail("more chains in flight than queue %d has descriptors", q.index)
		return nil
	}
	head, ok := q.load16(q.avail + availRing + 2*uint64(int(q.lastAvail)%q.size))
	if !ok {
		return nil
	}
	c := q.walk(head)
	if c == nil {
		return nil
	}
	q.lastAvail++
	q.inFlight++
	return c
}

// Wait tells the driver that it should notify of the next buffer it makes available, and
// reports whether there is one already.
func (q *Queue) Wait() bool {
	if !q.slot.running() || !q.ready {
		return false
	}
	if q.slot.has(FeatureEventIdx) {
		q.store16(q.availEvent(), q.lastAvail)
	}
	idx, ok := q.load16(q.avail + availIdx)
	return ok && idx != q.lastAvail
}

// availEvent is the address behind the used ring, usedEvent the one behind the available
// ring (section 2.7.7).
func (q *Queue) availEvent() uint64 {
	return q.used + usedRing + usedElemSize*uint64(q.size)
}

func (q *Queue) usedEvent() uint64 { return q.avail + availRing + 2*uint64(q.size) }

// Push returns a chain to the driver; n is how many bytes of it were written.
func (q *Queue) Push(c *Chain, n uint32) {
	q.inFlight--
	if !q.slot.running() || !q.ready {
		return
	}
	addr := q.used + usedRing + usedElemSize*uint64(int(q.usedIdx)%q.size)
	r, b := q.ram(addr, usedElemSize)
	if b == nil {
		q.slot.fail("used ring of queue %d is not in RAM: %#x", q.index, addr)
		return
	}
	binary.LittleEndian.PutUint32(b, uint32(c.Head))
	binary.LittleEndian.PutUint32(b[4:], n)
	r.Wrote(addr-r.Base, usedElemSize)
	q.usedIdx++
	q.store16(q.used+usedIdx, q.usedIdx)
}

// Unpop makes a chain that was taken the next one to be taken. It is written into the
// available ring in front of those still to come, over an entry that the driver has done
// with.
func (q *Queue) Unpop(c *Chain) {
	q.inFlight--
	if !q.slot.running() || !q.ready {
		return
	}
	q.lastAvail--
	q.store16(q.avail+availRing+2*uint64(int(q.lastAvail)%q.size), c.Head)
}

// Signal interrupts the driver for what was pushed, if it wants to be.
func (q *Queue) Signal() {
	if q.slot.running() && q.ready && q.wantsInterrupt() {
		q.slot.raise(interruptRing)
	}
}

func (q *Queue) wantsInterrupt() bool {
	if q.slot.has(FeatureNotifyOnEmpty) && q.inFlight == 0 {
		if idx, ok := q.load16(q.avail + availIdx); ok && idx == q.lastAvail {
			return true
		}
	}
	if !q.slot.has(FeatureEventIdx) {
		flags, ok := q.load16(q.avail + availFlags)
		return ok && flags&availNoIntr == 0
	}
	event, ok := q.load16(q.usedEvent())
	if !ok {
		return false
	}
	old, valid := q.signalled, q.signalledValid
	q.signalled, q.signalledValid = q.usedIdx, true
	return !valid || q.usedIdx-event-1 < q.usedIdx-old
}
