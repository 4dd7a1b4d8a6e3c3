package virtio

import (
	"encoding/binary"

	"github.com/qmon/qmon/vm"
)

// Chain is a request of the driver: buffers that the device reads, then buffers that it
// writes.
type Chain struct {
	Head uint16
	Out  Buffers // read by the device
	In   Buffers // written by the device
}

// Buffers are pieces of RAM that follow each other.
type Buffers []Buffer

// Buffer is a piece of RAM in place.
type Buffer struct {
	Data   []byte
	region *vm.Region
	off    uint64 // in region
}

// wrote tells the caches of a machine's RAM that the buffer has changed.
func (b Buffer) wrote() { b.region.Wrote(b.off, uint64(len(b.Data))) }

// walk collects the chain that begins at head; nil, and the device stopped, if it breaks
// the rules of section 2.7.5.
func (q *Queue) walk(head uint16) *Chain {
	if int(head) >= q.size {
		q.slot.fail("available ring of queue %d names descriptor %d", q.index, head)
		return nil
	}
	c := &Chain{Head: head}
	table, count := q.desc, q.size
	indirect := false
	next := int(head)
	for steps := 0; ; steps++ {
		if steps >= count {
			q.slot.fail("descriptors of queue %d form a loop", q.index)
			return nil
		}
		d, ok := q.descriptor(table, next)
		if !ok {
			return nil
		}
		if d.flags&descIndirect != 0 {
			if !q.enterable(d, indirect) {
				return nil
			}
			table, count, indirect = d.addr, int(d.length/descSize), true
			next, steps = 0, -1
			continue
		}
		if !q.add(c, d) {
			return nil
		}
		if d.flags&descNext == 0 {
			return c
		}
		if next = int(d.next); next >= count {
			q.slot.fail("descriptor of queue %d is followed by %d of %d", q.index, next, count)
			return nil
		}
	}
}

type descriptor struct {
	addr   uint64
	length uint32
	flags  uint16
	next   uint16
}

func (q *Queue) descriptor(table uint64, i int) (descriptor, bool) {
	addr := table + descSize*uint64(i)
	_, b := q.ram(addr, descSize)
	if b == nil {
		q.slot.fail("descriptor of queue %d is not in RAM: %#x", q.index, addr)
		return descriptor{}, false
	}
	return descriptor{
		addr:   binary.LittleEndian.Uint64(b),
		length: binary.LittleEndian.Uint32(b[8:]),
		flags:  binary.LittleEndian.Uint16(b[12:]),
		next:   binary.LittleEndian.Uint16(b[14:]),
	}, true
}

// enterable tells if d may be an indirect table (section 2.7.5.3).
func (q *Queue) enterable(d descriptor, indirect bool) bool {
	switch {
	case indirect:
		q.slot.fail("indirect descriptor in an indirect table")
	case d.flags&descNext != 0:
		q.slot.fail("indirect descriptor with a next one")
	case d.length == 0 || d.length%descSize != 0:
		q.slot.fail("indirect table of %d bytes", d.length)
	case d.length/descSize > maxQueueSize:
		q.slot.fail("indirect table of %d descriptors", d.length/descSize)
	default:
		return true
	}
	return false
}

// add appends the buffer of d to the chain.
func (q *Queue) add(c *Chain, d descriptor) bool {
	if d.length == 0 {
		q.slot.fail("buffer without bytes in queue %d", q.index)
		return false
	}
	r, data := q.ram(d.addr, uint64(d.length))
	if data == nil {
		q.slot.fail("buffer in queue %d is not in RAM: %#x, %d bytes", q.index, d.addr, d.length)
		return false
	}
	b := Buffer{Data: data, region: r, off: d.addr - r.Base}
	switch {
	case d.flags&descWrite != 0:
		c.In = append(c.In, b)
	case len(c.In) > 0:
		q.slot.fail("buffer to read behind one to write in queue %d", q.index)
		return false
	default:
		c.Out = append(c.Out, b)
	}
	return true
}

// Len is the number of bytes of all buffers.
func (bs Buffers) Len() uint64 {
	var n uint64
	for _, b := range bs {
		n += uint64(len(b.Data))
	}
	return n
}

// Cut divides the buffers after n bytes, or at their end.
func (bs Buffers) Cut(n uint64) (before, after Buffers) {
	for i, b := range bs {
		size := uint64(len(b.Data))
		if n < size {
			before = append(bs[:i:i], b.slice(0, n))
			return before, append(Buffers{b.slice(n, size)}, bs[i+1:]...)
		}
		n -= size
	}
	return bs, nil
}

func (b Buffer) slice(from, to uint64) Buffer {
	return Buffer{Data: b.Data[from:to:to], region: b.region, off: b.off + from}
}

// CopyTo copies from the buffers to p and returns how many bytes there were.
func (bs Buffers) CopyTo(p []byte) int {
	n := 0
	for _, b := range bs {
		n += copy(p[n:], b.Data)
	}
	return n
}

// CopyFrom copies p into the buffers and returns how much there was room for. It may be
// called on any goroutine; [Buffers.Wrote] has to follow on the machine's.
func (bs Buffers) CopyFrom(p []byte) int {
	n := 0
	for _, b := range bs {
		n += copy(b.Data, p[n:])
	}
	return n
}

// Wrote tells the caches of the machine's RAM that the buffers have changed.
func (bs Buffers) Wrote() {
	for _, b := range bs {
		b.wrote()
	}
}

// pieces are the buffers as plain memory, those that lie side by side as one.
func (bs Buffers) pieces() [][]byte {
	joined := bs.joined()
	out := make([][]byte, len(joined))
	for i, b := range joined {
		out[i] = b.Data
	}
	return out
}

// joined merges buffers that lie side by side.
func (bs Buffers) joined() Buffers {
	var out Buffers
	for _, b := range bs {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if last.region == b.region && last.off+uint64(len(last.Data)) == b.off {
				end := b.off + uint64(len(b.Data))
				last.Data = b.region.Data[last.off:end:end]
				continue
			}
		}
		out = append(out, b)
	}
	return out
}
