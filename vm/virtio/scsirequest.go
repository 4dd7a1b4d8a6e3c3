package virtio

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm/scsi"
)

// Requests of the SCSI host device (section 5.6.6.1):
//
//	device reads:  lun[8], le64 id, u8 attribute, u8 priority, u8 crn, cdb, data
//	device writes: le32 sense length, le32 residual, le16 qualifier, u8 status, u8 response,
//	               sense, data
const (
	scsiRequestHead  = 19
	scsiResponseHead = 12

	responseOK        = 0
	responseOverrun   = 1
	responseBadTarget = 3
)

// scsiRequest is one request between being taken from the queue and being returned.
type scsiRequest struct {
	host  *SCSI
	queue *Queue
	chain *Chain
	unit  *scsi.Unit // nil where none is needed
	task  scsi.Task
	head  Buffers // of the response
	data  Buffers // what the unit sends
}

// request begins one.
func (s *SCSI) request(q *Queue, c *Chain) {
	headSize := uint64(scsiRequestHead + s.cdbSize)
	answerSize := uint64(scsiResponseHead + s.senseSize)
	head := make([]byte, max(headSize, scsiRequestHead+minCDBSize))
	if c.Out.CopyTo(head[:headSize]) < int(headSize) || c.In.Len() < answerSize {
		s.slot.fail("request of %d bytes with room for %d", c.Out.Len(), c.In.Len())
		return
	}
	r := &scsiRequest{host: s, queue: q, chain: c}
	r.head, r.data = c.In.Cut(answerSize)
	_, out := c.Out.Cut(headSize)
	r.task = scsi.Task{CDB: head[scsiRequestHead:], Out: out.pieces(), In: r.data.pieces()}
	target, lun, ok := address(head)
	if !ok || len(s.bus.LUNs(target)) == 0 {
		r.respond(responseBadTarget)
		return
	}
	var done bool
	if r.unit, done = s.bus.Start(target, lun, &r.task); done {
		r.answer()
		return
	}
	s.pool.start(r)
}

// address reads a LUN: 1, target, LUN in flat or peripheral form (section 5.6.6.1).
func address(lun []byte) (target, unit int, ok bool) {
	high := lun[2]
	if lun[0] != 1 || high != 0 && high&0xc0 != 0x40 {
		return 0, 0, false
	}
	return int(lun[1]), int(high&0x3f)<<8 | int(lun[3]), true
}

// run implements job.
func (r *scsiRequest) run() { r.task.Run() }

// finish implements job: the answer goes to the guest, unless the drive's error policy says
// that the machine stops.
func (r *scsiRequest) finish() {
	if r.task.Err != nil {
		switch errorAction(r.unit.Drive(), r.task.Writes, r.task.Err) {
		case blockdev.ErrorStop:
			r.host.pool.hold(r.queue, r.chain)
			return
		case blockdev.ErrorIgnore:
			r.task.Err = nil
		}
	}
	r.unit.Finish(&r.task)
	r.answer()
}

// answer returns a command that was carried out.
func (r *scsiRequest) answer() {
	if r.task.Overrun {
		r.respond(responseOverrun)
		return
	}
	r.respond(responseOK)
}

func (r *scsiRequest) respond(response byte) {
	t := &r.task
	b := make([]byte, scsiResponseHead+r.host.senseSize)
	le := binary.LittleEndian
	if response == responseOK {
		if t.Status == scsi.StatusCheckCondition {
			le.PutUint32(b, uint32(copy(b[scsiResponseHead:], t.Sense.Bytes())))
		}
		_, out := r.chain.Out.Cut(uint64(scsiRequestHead + r.host.cdbSize))
		rest := out.Len() + r.data.Len() - uint64(t.Written+t.Taken)
		le.PutUint32(b[4:], uint32(min(rest, 1<<32-1)))
		b[10] = t.Status
	}
	b[11] = response
	r.head.CopyFrom(b)
	r.chain.In.Wrote()
	r.queue.Push(r.chain, uint32(min(int64(len(b))+t.Written, 1<<32-1)))
	r.queue.Signal()
}
