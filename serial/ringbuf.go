package serial

import "fmt"

// maxRing bounds a ring buffer: QEMU's limit is what a 32-bit count can hold, a line's
// last 256 MiB are more than anybody reads.
const maxRing = 256 << 20

// RingBuf keeps the last bytes written to it in memory, for ringbuf_read.
type RingBuf struct {
	port
	ring []byte
	// read and written count bytes since the start; what is kept lies between.
	read, written uint64
}

var _ Chardev = (*RingBuf)(nil)

func openRingBuf(c Config) (*RingBuf, error) {
	if c.Size <= 0 || c.Size&(c.Size-1) != 0 {
		return nil, fmt.Errorf("size of ringbuf chardev must be power of two")
	}
	if c.Size > maxRing {
		return nil, fmt.Errorf("size of ringbuf chardev must not exceed %d bytes", maxRing)
	}
	d := &RingBuf{ring: make([]byte, c.Size)}
	d.init(c.ID, true)
	return d, nil
}

// Filename implements Chardev.
func (d *RingBuf) Filename() string { return "ringbuf" }

// Write implements Chardev. When the ring is full, the oldest bytes go.
func (d *RingBuf) Write(p []byte) (int, error) {
	d.record(p)
	d.mu.Lock()
	defer d.mu.Unlock()
	size := uint64(len(d.ring))
	for _, b := range p {
		d.ring[d.written%size] = b
		d.written++
	}
	if d.written-d.read > size {
		d.read = d.written - size
	}
	return len(p), nil
}

// Take removes up to len(p) of the oldest bytes and returns how many there were.
func (d *RingBuf) Take(p []byte) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for n < len(p) && d.read < d.written {
		p[n] = d.ring[d.read%uint64(len(d.ring))]
		d.read++
		n++
	}
	return n
}

// Terminal implements Chardev.
func (d *RingBuf) Terminal() bool { return false }

// Close implements Chardev.
func (d *RingBuf) Close() error {
	d.shut()
	return nil
}
