package scsi_test

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"
)

// system is a machine with a virtio-scsi device in the slot of the highest address, ours or
// QEMU's, as somebody sees it who works registers and memory from outside.
type system interface {
	write32(addr uint64, v uint32)
	read(addr uint64, n int) []byte
	write(addr uint64, p []byte)
	// console runs a line at the monitor and returns what it prints.
	console(line string) string
}

// Where the initiator has things: registers, rings and buffers.
const (
	slotBase   = 0x10008000
	ringBase   = 0x80100000
	ringStride = 0x4000
	ringSize   = 8
	headAt     = 0x80200000
	answerAt   = 0x80210000
	dataAt     = 0x80220000

	requestHead = 51
	answerHead  = 108
)

// initiator is a driver of the virtio-scsi device: one request at a time.
type initiator struct {
	system
	t   testing.TB
	idx [3]uint16
}

// newInitiator sets the device up, as a driver of legacy devices does.
func newInitiator(t testing.TB, s system) *initiator {
	d := &initiator{system: s, t: t}
	d.start()
	return d
}

func (d *initiator) start() {
	for _, status := range []uint32{0, 1, 3} {
		d.write32(slotBase+0x70, status)
	}
	d.write32(slotBase+0x24, 0)
	d.write32(slotBase+0x20, 6) // hot plug, change
	d.write32(slotBase+0x28, 4096)
	d.idx = [3]uint16{}
	for q := range uint64(3) {
		d.write(ringBase+q*ringStride, make([]byte, ringStride))
		d.write32(slotBase+0x30, uint32(q))
		d.write32(slotBase+0x38, ringSize)
		d.write32(slotBase+0x3c, 4096)
		d.write32(slotBase+0x40, uint32((ringBase+q*ringStride)/4096))
	}
	d.write32(slotBase+0x70, 7)
}

// buffer is a piece of memory that a descriptor names.
type buffer struct {
	addr uint64
	n    int
	in   bool
}

// offer puts a chain of buffers into a queue.
func (d *initiator) offer(q int, bufs ...buffer) {
	base := uint64(ringBase + q*ringStride)
	for i, b := range bufs {
		p := binary.LittleEndian.AppendUint64(nil, b.addr)
		p = binary.LittleEndian.AppendUint32(p, uint32(b.n))
		var flags, next uint16
		if b.in {
			flags = 2
		}
		if i < len(bufs)-1 {
			flags, next = flags|1, uint16(i+1)
		}
		p = binary.LittleEndian.AppendUint16(p, flags)
		d.write(base+16*uint64(i), binary.LittleEndian.AppendUint16(p, next))
	}
	d.write(base+16*ringSize+4+2*uint64(d.idx[q]%ringSize), []byte{0, 0})
	d.idx[q]++
	d.write(base+16*ringSize+2, binary.LittleEndian.AppendUint16(nil, d.idx[q]))
	d.write32(slotBase+0x50, uint32(q))
}

// send offers a chain and waits until it is returned.
func (d *initiator) send(q int, bufs ...buffer) {
	d.t.Helper()
	d.offer(q, bufs...)
	for end := time.Now().Add(30 * time.Second); d.returned(q) != d.idx[q]; time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			d.t.Fatal("no answer")
		}
	}
}

// returned is the used index of a queue.
func (d *initiator) returned(q int) uint16 {
	return binary.LittleEndian.Uint16(d.read(uint64(ringBase+q*ringStride)+4096+2, 2))
}

// answer is what a command gave.
type answer struct {
	response, status byte
	sense            string // "6/29/00", "" for none
	residual         uint32
	data             []byte
}

// scsi sends a command.
func (d *initiator) scsi(target int, cdb, out []byte, in int) answer {
	d.t.Helper()
	head := make([]byte, requestHead)
	head[0], head[1], head[2] = 1, byte(target), 0x40
	copy(head[19:], cdb)
	d.write(headAt, head)
	d.write(answerAt, make([]byte, answerHead))
	bufs := []buffer{{headAt, requestHead, false}}
	if len(out) > 0 {
		d.write(dataAt, out)
		bufs = append(bufs, buffer{dataAt, len(out), false})
	}
	bufs = append(bufs, buffer{answerAt, answerHead, true})
	if in > 0 {
		d.write(dataAt, make([]byte, in))
		bufs = append(bufs, buffer{dataAt, in, true})
	}
	d.send(2, bufs...)
	b := d.read(answerAt, answerHead)
	a := answer{response: b[11], status: b[10], residual: binary.LittleEndian.Uint32(b[4:])}
	if n := binary.LittleEndian.Uint32(b); n >= 14 {
		a.sense = fmt.Sprintf("%x/%02x/%02x", b[12+2]&15, b[12+12], b[12+13])
	}
	if in > 0 {
		a.data = d.read(dataAt, in)
	}
	return a
}

// do sends a command in hexadecimal.
func (d *initiator) do(target int, cdb string, in int) answer {
	d.t.Helper()
	return d.scsi(target, unhex(d.t, cdb), nil, in)
}

// String is the answer in one line, with data up to its last byte that is not zero: QEMU fills
// answers up with zeroes.
func (a answer) String() string {
	var b strings.Builder
	switch {
	case a.response != 0:
		fmt.Fprintf(&b, "response %d", a.response)
	case a.status != 0:
		fmt.Fprintf(&b, "status %d sense %s", a.status, a.sense)
	default:
		b.WriteString("good")
	}
	if data := strings.TrimRight(string(a.data), "\x00"); data != "" && a.response == 0 && a.status == 0 {
		fmt.Fprintf(&b, " %x", data)
	}
	return b.String()
}

// manage sends a task management function.
func (d *initiator) manage(function uint32, target, lun int) byte {
	d.t.Helper()
	p := binary.LittleEndian.AppendUint32(nil, 0)
	p = binary.LittleEndian.AppendUint32(p, function)
	p = append(p, 1, byte(target), 0x40, byte(lun), 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0)
	d.write(headAt, p)
	d.send(0, buffer{headAt, len(p), false}, buffer{answerAt, 1, true})
	return d.read(answerAt, 1)[0]
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
