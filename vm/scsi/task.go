package scsi

import (
	"encoding/binary"
	"errors"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// Task is a command on its way through a unit.
type Task struct {
	// CDB is the command, at least 16 bytes; what follows its last byte is not looked at.
	CDB []byte
	// Out are the buffers with the initiator's data, In those for the unit's.
	Out, In [][]byte

	// Status and Sense are the answer. Written is how many bytes of In it takes up, Taken how
	// many of Out were used.
	Status  byte
	Sense   Sense
	Written int64
	Taken   int64
	// Overrun is set if the command would transfer more than the buffers hold; then
	// nothing has happened.
	Overrun bool
	// Err is the drive's, if what went wrong was not the guest's doing.
	Err error
	// Writes tells if what is done to the drive is a write, for its error policy.
	Writes bool

	run func() error // what is to be done to the drive
}

// Run does what the command asks of the drive. It may be called on any goroutine, and
// touches nothing but the task, its buffers and the drive.
func (t *Task) Run() {
	err := t.run()
	if s, ok := guestError(err); ok {
		t.fail(s)
		return
	}
	t.Err = err
}

// guestError is the sense of an error that the medium, or what the guest asked of it, made.
func guestError(err error) (Sense, bool) {
	var told *senseError
	switch {
	case errors.As(err, &told):
		return told.sense, true
	case errors.Is(err, blockdev.ErrReadOnly): // with QEMU's number for no medium, perhaps
		return senseWriteProtected, true
	case errors.Is(err, blockdev.ErrNoMedium):
		return senseNoMedium, true
	case errors.Is(err, blockdev.ErrRange):
		return senseOutOfRange, true
	}
	return Sense{}, false
}

// hostError is the sense of any other.
func hostError(err error) Sense {
	if errors.Is(err, blockdev.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) {
		return senseNoSpace
	}
	return senseIOError
}

// senseError is a failure that is not the drive's.
type senseError struct{ sense Sense }

func (e *senseError) Error() string { return "SCSI sense " + e.sense.String() }

// size is the length of buffers.
func size(bufs [][]byte) int64 {
	var n int64
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}

// cut is the first n bytes of buffers.
func cut(bufs [][]byte, n int64) [][]byte {
	for i, b := range bufs {
		if n <= int64(len(b)) {
			return append(bufs[:i:i], b[:n:n])
		}
		n -= int64(len(b))
	}
	return bufs
}

// fetch copies n bytes of the initiator's data; nil, and Overrun set, if there are not as many.
func (t *Task) fetch(n int) []byte {
	if size(t.Out) < int64(n) {
		t.Overrun = true
		return nil
	}
	t.Taken = int64(n)
	p := make([]byte, 0, n)
	for _, b := range cut(t.Out, int64(n)) {
		p = append(p, b...)
	}
	return p
}

// reply answers with data, of which the initiator wants at most limit bytes.
func (t *Task) reply(data []byte, limit int) {
	data = data[:min(len(data), limit)]
	if size(t.In) < int64(len(data)) {
		t.Overrun = true
		return
	}
	t.Written = int64(len(data))
	for _, b := range t.In {
		data = data[copy(b, data):]
	}
}

// fail answers with CHECK CONDITION.
func (t *Task) fail(s Sense) { t.Status, t.Sense = StatusCheckCondition, s }

// cdb is a command's fields, as far as they lie where those of its group do (SPC-5, 4.2).
type cdb []byte

func (c cdb) op() byte { return c[0] }

// lba is the address of a command that transfers blocks.
func (c cdb) lba() uint64 {
	switch c.op() >> 5 {
	case 0:
		return uint64(c[1]&0x1f)<<16 | uint64(binary.BigEndian.Uint16(c[2:]))
	case 4:
		return binary.BigEndian.Uint64(c[2:])
	}
	return uint64(binary.BigEndian.Uint32(c[2:]))
}

// blocks is how many it transfers.
func (c cdb) blocks() uint64 {
	switch c.op() >> 5 {
	case 0:
		if c[4] == 0 {
			return 256
		}
		return uint64(c[4])
	case 4:
		return uint64(binary.BigEndian.Uint32(c[10:]))
	case 5:
		return uint64(binary.BigEndian.Uint32(c[6:]))
	}
	return uint64(binary.BigEndian.Uint16(c[7:]))
}

// limit is the allocation length, or the length of parameters, of any other command.
func (c cdb) limit() int {
	switch c.op() >> 5 {
	case 0:
		if c.op() == opInquiry {
			return int(binary.BigEndian.Uint16(c[3:]))
		}
		return int(c[4])
	case 4:
		return int(min(binary.BigEndian.Uint32(c[10:]), maxParameters))
	case 5:
		if c.op() == opReportLUNs {
			return int(min(binary.BigEndian.Uint32(c[6:]), maxParameters))
		}
		return int(binary.BigEndian.Uint16(c[8:]))
	}
	return int(binary.BigEndian.Uint16(c[7:]))
}

// maxParameters is more than any answer here, and bounds what 32-bit lengths can ask for.
const maxParameters = 1 << 20
