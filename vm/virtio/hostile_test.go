package virtio

import (
	"encoding/binary"
	"testing"
)

// TestHostileRings has a driver break each rule: the device stops and says so, touches
// nothing, and works again after a reset.
func TestHostileRings(t *testing.T) {
	const table = dataBase + 0x8000
	bad := map[string]func(d *driver){
		"a loop": func(d *driver) {
			d.put(d.desc, encodeDescriptor(buf{headerAt, 16, 0}, descNext, 1))
			d.put(d.desc+16, encodeDescriptor(buf{headerAt, 16, 0}, descNext, 0))
			d.offer(0)
		},
		"a head outside of the table": func(d *driver) { d.offer(8) },
		"a next outside of the table": func(d *driver) {
			d.put(d.desc, encodeDescriptor(buf{headerAt, 16, 0}, descNext, 8))
			d.offer(0)
		},
		"an available index far ahead": func(d *driver) { d.put16(d.avail+2, 9) },
		"a buffer past the end of RAM": func(d *driver) {
			d.offer(d.chain(buf{headerAt, 16, 0}, buf{ramBase + ramSize - 256, 512, descWrite}, buf{statusAt, 1, descWrite}))
		},
		"a buffer of 4 GiB": func(d *driver) {
			d.offer(d.chain(buf{headerAt, 16, 0}, buf{dataAt, 0xffffffff, descWrite}, buf{statusAt, 1, descWrite}))
		},
		"a buffer at the end of the address space": func(d *driver) {
			d.offer(d.chain(buf{headerAt, 16, 0}, buf{^uint64(0), 2, descWrite}, buf{statusAt, 1, descWrite}))
		},
		"a buffer in the device's registers": func(d *driver) {
			d.offer(d.chain(buf{slotBase, 16, 0}, buf{statusAt, 1, descWrite}))
		},
		"a buffer in a hole": func(d *driver) { d.offer(d.chain(buf{0, 16, 0}, buf{statusAt, 1, descWrite})) },
		"a buffer without bytes": func(d *driver) {
			d.offer(d.chain(buf{headerAt, 16, 0}, buf{dataAt, 0, descWrite}, buf{statusAt, 1, descWrite}))
		},
		"reading after writing": func(d *driver) {
			d.offer(d.chain(buf{statusAt, 1, descWrite}, buf{headerAt, 16, 0}))
		},
		"no status":      func(d *driver) { d.offer(d.chain(buf{headerAt, 16, 0})) },
		"no header":      func(d *driver) { d.offer(d.chain(buf{statusAt, 1, descWrite})) },
		"a short header": func(d *driver) { d.offer(d.chain(buf{headerAt, 15, 0}, buf{statusAt, 1, descWrite})) },
		"an indirect table in a hole": func(d *driver) {
			d.offer(d.chain(buf{0, 32, descIndirect}))
		},
		"an indirect table of an odd size": func(d *driver) { d.offer(d.chain(buf{table, 33, descIndirect})) },
		"an empty indirect table":          func(d *driver) { d.offer(d.chain(buf{table, 0, descIndirect})) },
		"a huge indirect table":            func(d *driver) { d.offer(d.chain(buf{table, 16 * 1025, descIndirect})) },
		"an indirect table in another": func(d *driver) {
			d.put(table, encodeDescriptor(buf{table, 16, descIndirect}, 0, 0))
			d.offer(d.chain(buf{table, 16, descIndirect}))
		},
		"an indirect table that goes on": func(d *driver) {
			d.offer(d.chain(buf{table, 16, descIndirect}, buf{statusAt, 1, descWrite}))
		},
		"a loop in an indirect table": func(d *driver) {
			d.put(table, encodeDescriptor(buf{headerAt, 16, 0}, descNext, 0))
			d.offer(d.chain(buf{table, 16, descIndirect}))
		},
	}
	for name, spoil := range bad {
		t.Run(name, func(t *testing.T) {
			bothTransports(t, func(t *testing.T, modern bool) {
				d := newDriver(t, driverConfig{modern: modern})
				d.start(FeatureIndirect, 8)
				d.put(headerAt, header(blkRead, 0))
				spoil(d)
				d.notify()
				if done := d.completed(); len(done) != 0 {
					t.Errorf("completed %v", done)
				}
				if !d.slot.broken {
					t.Error("the device goes on")
				}
				if modern && (d.read(regStatus)&StatusNeedsReset == 0 || d.read(regInterrupt) != interruptConfig) {
					t.Errorf("status %#x, interrupt status %#x", d.read(regStatus), d.read(regInterrupt))
				}
				d.offer(d.chain(d.request(blkRead, 0, 512, true)...))
				d.notify()
				if done := d.completed(); len(done) != 0 {
					t.Error("a stopped device works")
				}
				d.start(0, 8)
				if status, _ := d.do(d.request(blkRead, 0, 512, true)...); status != statusOK {
					t.Errorf("after a reset: status %d", status)
				}
			})
		})
	}
}

// TestRingsOutsideOfRAM has each ring where it cannot be.
func TestRingsOutsideOfRAM(t *testing.T) {
	for _, reg := range []uint64{regQueueDescLow, regQueueAvailLow, regQueueUsedLow} {
		for _, addr := range []uint64{0, slotBase, ramBase + ramSize - 2, ^uint64(0) - 1} {
			d := newDriver(t, driverConfig{modern: true})
			d.start(0, 8)
			d.offer(d.chain(d.request(blkRead, 0, 512, true)...))
			d.write(reg, uint32(addr))
			d.write(reg+4, uint32(addr>>32))
			d.notify()
			d.block.Drain()
			if !d.slot.broken {
				t.Errorf("register %#x, address %#x: the device goes on", reg, addr)
			}
		}
	}
}

// TestTheSameBufferAgainAndAgain offers one chain as often as it can while none is
// returned: what is in flight stays within the size of the queue.
func TestTheSameBufferAgainAndAgain(t *testing.T) {
	d := newDriver(t, driverConfig{modern: true})
	d.start(0, 8)
	head := d.chain(d.request(blkRead, 0, 512, true)...)
	q := d.slot.queues[0]
	for range 100 {
		d.offer(head)
		q.Pop()
	}
	if q.inFlight > 8 || !d.slot.broken {
		t.Errorf("%d in flight, broken %v", q.inFlight, d.slot.broken)
	}
}

// FuzzDriver lets random bytes be a driver: register writes, and what lies in RAM. Nothing
// may panic, hang, or take memory on the guest's word.
func FuzzDriver(f *testing.F) {
	good := newDriver(&testing.T{}, driverConfig{modern: true})
	good.start(FeatureIndirect, 8)
	good.offer(good.chain(good.request(blkRead, 0, 512, true)...))
	ring := good.get(ringBase, 0x200)
	f.Add(true, []byte{0x50, 0, 0, 0, 0}, ring)
	f.Add(false, []byte{0x50, 0, 0, 0, 0, 0x70, 0, 0, 0, 0}, ring)
	f.Add(false, []byte{0x38, 4, 0, 0, 0, 0x40, 0xff, 0xff, 0xff, 0xff, 0x50, 0, 0, 0, 0}, []byte{})
	f.Fuzz(func(t *testing.T, modern bool, script, ring []byte) {
		d := newDriver(t, driverConfig{modern: modern})
		d.start(FeatureIndirect|FeatureEventIdx|blkFlush|blkConfigWCE, 8)
		d.put(headerAt, header(blkRead, 0))
		d.put(ringBase, ring[:min(len(ring), 0x4000)])
		d.notify()
		for len(script) >= 5 {
			off := uint64(script[0]) &^ 3
			if script[0]&1 != 0 {
				off += regConfig
			}
			d.write(off, binary.LittleEndian.Uint32(script[1:]))
			d.read(off)
			script = script[5:]
		}
		d.block.Drain()
		if q := d.slot.queues[0]; q.inFlight != 0 {
			t.Errorf("%d requests are lost", q.inFlight)
		}
	})
}

// FuzzLoad loads random device states.
func FuzzLoad(f *testing.F) {
	for _, modern := range []bool{false, true} {
		d := newDriver(&testing.T{}, driverConfig{modern: modern})
		d.start(blkFlush, 8)
		f.Add(modern, marshal(f, d))
	}
	f.Fuzz(func(t *testing.T, modern bool, section []byte) {
		d := newDriver(t, driverConfig{modern: modern})
		s := sectionState{d.slot}
		state := s.New()
		if unmarshal(section, state) != nil || s.Check(state, 2) != nil {
			return
		}
		if err := s.Load(state, 2); err != nil {
			t.Error(err)
		}
		d.notify()
		d.block.Drain()
		if _, err := s.Save(); err != nil {
			t.Error(err)
		}
	})
}
