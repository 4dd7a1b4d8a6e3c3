package virtio

import "math/bits"

// SlotSize is the size of a slot's register file, in bytes.
const SlotSize = 0x200

// Registers of virtio-mmio (section 4.2.2; 4.2.4 for the legacy ones).
const (
	regMagic          = 0x000
	regVersion        = 0x004
	regDeviceID       = 0x008
	regVendorID       = 0x00c
	regHostFeatures   = 0x010
	regHostSelect     = 0x014
	regGuestFeatures  = 0x020
	regGuestSelect    = 0x024
	regGuestPageSize  = 0x028 // legacy
	regQueueSelect    = 0x030
	regQueueMax       = 0x034
	regQueueSize      = 0x038
	regQueueAlign     = 0x03c // legacy
	regQueuePage      = 0x040 // legacy
	regQueueReady     = 0x044
	regQueueNotify    = 0x050
	regInterrupt      = 0x060
	regInterruptAck   = 0x064
	regStatus         = 0x070
	regQueueDescLow   = 0x080
	regQueueDescHigh  = 0x084
	regQueueAvailLow  = 0x090
	regQueueAvailHigh = 0x094
	regQueueUsedLow   = 0x0a0
	regQueueUsedHigh  = 0x0a4
	regQueueReset     = 0x0c0
	regGeneration     = 0x0fc
	regConfig         = 0x100

	magic    = 0x74726976 // "virt"
	vendorID = 0x554d4551 // "QEMU": drivers know it
)

// ReadMMIO implements vm.MMIO.
func (s *Slot) ReadMMIO(off uint64, size int) (uint64, error) {
	if off >= regConfig {
		if s.function == nil {
			return 0, nil
		}
		return s.readConfig(off-regConfig, size), nil
	}
	if size != 4 {
		return 0, nil
	}
	switch off {
	case regMagic:
		return magic, nil
	case regVersion:
		if s.legacy {
			return 1, nil
		}
		return 2, nil
	case regVendorID:
		return vendorID, nil
	}
	if s.function == nil {
		return 0, nil
	}
	return uint64(s.readRegister(off)), nil
}

func (s *Slot) readRegister(off uint64) uint32 {
	switch off {
	case regDeviceID:
		return s.function.ID()
	case regHostFeatures:
		if s.hostSelect < 2 {
			return uint32(s.offered() >> (32 * s.hostSelect))
		}
	case regInterrupt:
		return uint32(s.interrupt)
	case regStatus:
		return uint32(s.status)
	case regGeneration:
		if !s.legacy {
			return s.generation
		}
	}
	q := s.queue()
	if q == nil {
		return 0
	}
	switch {
	case off == regQueueMax:
		return maxQueueSize
	case off == regQueuePage && s.legacy:
		return uint32(q.desc >> s.pageShift)
	case off == regQueueReady && !s.legacy && q.ready:
		return 1
	}
	return 0
}

// queue is the selected queue, nil if there is no such one.
func (s *Slot) queue() *Queue {
	if int(s.queueSelect) < len(s.queues) {
		return s.queues[s.queueSelect]
	}
	return nil
}

// WriteMMIO implements vm.MMIO.
func (s *Slot) WriteMMIO(off uint64, size int, v uint64) error {
	switch {
	case s.function == nil:
	case off >= regConfig:
		s.writeConfig(off-regConfig, size, v)
	case size == 4:
		s.writeRegister(off, uint32(v))
	}
	return nil
}

func (s *Slot) writeRegister(off uint64, v uint32) {
	switch off {
	case regHostSelect:
		s.hostSelect = v
	case regGuestSelect:
		s.guestSelect = v
	case regGuestFeatures:
		s.acceptFeatures(v)
	case regQueueSelect:
		s.queueSelect = uint16(min(v, 0xffff))
	case regQueueNotify:
		if v < uint32(len(s.queues)) && s.running() && s.queues[v].ready {
			s.function.Notify(s.queues[v])
		}
	case regInterruptAck:
		s.interrupt &^= byte(v)
		s.update()
	case regStatus:
		s.writeStatus(byte(v))
	case regGuestPageSize:
		if s.legacy && bits.OnesCount32(v) == 1 {
			s.pageShift = uint32(bits.TrailingZeros32(v))
		}
	default:
		if q := s.queue(); q != nil {
			s.writeQueue(q, off, v)
		}
	}
}

// acceptFeatures takes what the driver chose of the selected 32 bits. Once settled they
// cannot change (section 3.1.1).
func (s *Slot) acceptFeatures(v uint32) {
	if s.guestSelect > 1 || s.status&(StatusFeaturesOK|StatusDriverOK) != 0 {
		return
	}
	shift := 32 * s.guestSelect
	accepted := uint64(v) << shift & s.offered()
	s.features = s.features&^(0xffffffff<<shift) | accepted
}

// writeStatus follows the driver through its initialisation.
func (s *Slot) writeStatus(v byte) {
	if v == 0 {
		s.resetFunction()
		return
	}
	was := s.running()
	s.status = v | s.status&StatusNeedsReset
	if s.running() && !was {
		for _, q := range s.queues {
			if q.ready {
				s.function.Notify(q)
			}
		}
	}
}

func (s *Slot) writeQueue(q *Queue, off uint64, v uint32) {
	if off == regQueueSize {
		q.resize(v)
		return
	}
	if s.legacy {
		switch off {
		case regQueueAlign:
			if bits.OnesCount32(v) == 1 {
				q.align = v
				q.layOut()
			}
		case regQueuePage:
			if v == 0 {
				s.resetQueue(q)
				return
			}
			q.desc = uint64(v) << s.pageShift
			q.layOut()
			q.ready = true
		}
		return
	}
	switch off {
	case regQueueReady:
		q.ready = v&1 != 0
	case regQueueDescLow:
		setLow(&q.desc, v)
	case regQueueDescHigh:
		setHigh(&q.desc, v)
	case regQueueAvailLow:
		setLow(&q.avail, v)
	case regQueueAvailHigh:
		setHigh(&q.avail, v)
	case regQueueUsedLow:
		setLow(&q.used, v)
	case regQueueUsedHigh:
		setHigh(&q.used, v)
	case regQueueReset:
		if v&1 != 0 && s.has(FeatureRingReset) {
			s.resetQueue(q)
		}
	}
}

// resetQueue takes one queue away from the device. A function's requests are few and its
// queues one or two, so all of them are dropped.
func (s *Slot) resetQueue(q *Queue) {
	s.function.Reset()
	q.reset()
}

func setLow(reg *uint64, v uint32)  { *reg = *reg&^0xffffffff | uint64(v) }
func setHigh(reg *uint64, v uint32) { *reg = *reg&0xffffffff | uint64(v)<<32 }
