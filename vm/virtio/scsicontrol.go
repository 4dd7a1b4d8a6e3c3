package virtio

import (
	"encoding/binary"

	"github.com/qmon/qmon/vm/scsi"
)

// Requests of the control queue (section 5.6.6.2):
//
//	le32 type 0, le32 function, lun[8], le64 id  ->  u8 response
//	le32 type 1 or 2, lun[8], le32 events        ->  le32 events, u8 response
const (
	controlTask      = 0
	controlQuery     = 1
	controlSubscribe = 2

	controlTaskSize   = 24
	controlNotifySize = 16
)

// Task management functions.
const (
	abortTask = iota
	abortTaskSet
	clearACA
	clearTaskSet
	nexusReset
	unitReset
	queryTask
	queryTaskSet
)

// Responses to them, beside responseOK and responseBadTarget.
const (
	functionRejected = 11
	incorrectLUN     = 12
)

// control serves one request of the control queue.
func (s *SCSI) control(q *Queue, c *Chain) {
	var head [controlTaskSize]byte
	n := c.Out.CopyTo(head[:])
	kind := binary.LittleEndian.Uint32(head[:])
	answer := []byte{responseOK}
	switch {
	case n >= 4 && kind == controlTask && n == controlTaskSize:
		answer[0] = s.manage(binary.LittleEndian.Uint32(head[4:]), head[8:16])
	case n >= controlNotifySize && (kind == controlQuery || kind == controlSubscribe):
		answer = make([]byte, 5) // no asynchronous notifications
	default:
		s.slot.fail("control request of %d bytes, type %d", n, kind)
		return
	}
	if c.In.Len() < uint64(len(answer)) {
		s.slot.fail("control request with room for %d bytes", c.In.Len())
		return
	}
	c.In.CopyFrom(answer)
	c.In.Wrote()
	q.Push(c, uint32(len(answer)))
	q.Signal()
}

// manage carries out a task management function. Requests that run are let run to their end
// first, so that none is left that a function could be about.
func (s *SCSI) manage(function uint32, lun []byte) byte {
	s.pool.drain()
	target, unit, ok := address(lun)
	if function == nexusReset && ok {
		return s.resetTarget(target)
	}
	luns := s.bus.LUNs(target)
	if !ok || len(luns) == 0 {
		return responseBadTarget
	}
	u := s.bus.Unit(target, unit)
	switch {
	case u == nil:
		return incorrectLUN
	case function == unitReset:
		u.Reset()
		return responseOK
	case function == clearACA || function > queryTaskSet:
		return functionRejected
	}
	return responseOK // nothing to abort, and nothing there
}

// resetTarget resets all units of a target.
func (s *SCSI) resetTarget(target int) byte {
	for _, u := range s.bus.Units() {
		if u.Address().Target == target {
			u.Reset()
		}
	}
	return responseOK
}

// Events (section 5.6.6.3): le32 event, lun[8], le32 reason.
const (
	eventSize = 16

	eventNone       = 0
	eventReset      = 1 // of the transport: units come or go
	eventParameters = 3
	eventsMissed    = 1 << 31

	reasonRescan   = 1
	reasonCapacity = 0x2a | 0x09<<8 // additional sense code and qualifier
)

// event tells a driver that wants to know what happened to a unit. Where it has no buffer for
// that it is told later that it missed something, and looks at everything.
func (s *SCSI) event(kind uint32, at scsi.Address, reason uint32) {
	wanted := map[uint32]uint64{eventReset: scsiHotplug, eventParameters: scsiChange}
	if f := wanted[kind]; !s.slot.running() || f != 0 && !s.slot.has(f) {
		return
	}
	q := s.slot.queues[scsiEventQueue]
	c := q.Pop()
	if c == nil {
		s.missed = true
		return
	}
	if c.In.Len() < eventSize {
		s.slot.fail("event buffer of %d bytes", c.In.Len())
		return
	}
	if s.missed {
		kind |= eventsMissed
		s.missed = false
	}
	b := binary.LittleEndian.AppendUint32(nil, kind)
	lun := make([]byte, 8)
	if kind&^eventsMissed != eventNone {
		lun[0], lun[1], lun[3] = 1, byte(at.Target), byte(at.LUN)
		if at.LUN > 0xff { // Linux takes the flag for a part of a smaller number
			lun[2] = 0x40 | byte(at.LUN>>8)
		}
	}
	b = append(b, lun...)
	b = binary.LittleEndian.AppendUint32(b, reason)
	c.In.CopyFrom(b)
	c.In.Wrote()
	q.Push(c, eventSize)
	q.Signal()
}
