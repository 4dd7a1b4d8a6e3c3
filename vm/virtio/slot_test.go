package virtio

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"testing"

	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/vm"
)

// TestRegisters compares what a driver finds with what QEMU 7.2 shows it.
func TestRegisters(t *testing.T) {
	type reading struct {
		name string
		off  uint64
		want uint32
	}
	common := []reading{
		{"magic", 0x000, 0x74726976}, {"device", 0x008, 2}, {"vendor", 0x00c, 0x554d4551},
		{"queue maximum", 0x034, 1024}, {"interrupt status", 0x060, 0}, {"status", 0x070, 0},
		{"capacity", 0x100, diskSize / 512}, {"capacity, high", 0x104, 0}, {"past the config space", 0x1f0, 0},
	}
	bothTransports(t, func(t *testing.T, modern bool) {
		d := newDriver(t, driverConfig{modern: modern})
		list := append([]reading{{"version", 0x004, 1}, {"page of the queue", 0x040, 0}}, common...)
		features := [2]uint32{0x31006ed4, 0}
		if modern {
			list = append([]reading{{"version", 0x004, 2}, {"queue ready", 0x044, 0}, {"generation", 0x0fc, 0}}, common...)
			features = [2]uint32{0x30006e54, 0x101}
		}
		for _, r := range list {
			if got := d.read(r.off); got != r.want {
				t.Errorf("%s: %#x, want %#x", r.name, got, r.want)
			}
		}
		for i, want := range features {
			d.write(regHostSelect, uint32(i))
			if got := d.read(regHostFeatures); got != want {
				t.Errorf("features %d: %#x, want %#x", i, got, want)
			}
		}
		d.write(regHostSelect, 2)
		if got := d.read(regHostFeatures); got != 0 {
			t.Errorf("features 2: %#x", got)
		}
		d.write(regQueueSelect, 1)
		if got := d.read(regQueueMax); got != 0 {
			t.Errorf("maximum of a queue that is not there: %d", got)
		}
		for _, size := range []int{1, 2, 8} {
			if v, err := d.slot.ReadMMIO(regMagic, size); v != 0 || err != nil {
				t.Errorf("register read with %d bytes: %#x, %v", size, v, err)
			}
		}
	})
}

func TestEmptySlotAnswers(t *testing.T) {
	s := NewSlot(SlotConfig{Memory: &vm.Memory{}, Line: func(bool) {}, Legacy: true})
	for off, want := range map[uint64]uint64{0: magic, 4: 1, 8: 0, 0xc: vendorID, 0x10: 0, 0x34: 0, 0x70: 0, 0x100: 0} {
		if err := s.WriteMMIO(off, 4, 0xffffffff); err != nil {
			t.Error(err)
		}
		if v, err := s.ReadMMIO(off, 4); v != want || err != nil {
			t.Errorf("%#x: %#x, %v, want %#x", off, v, err, want)
		}
	}
	s.Reset()
}

// TestConfigSpace compares with the config space that QEMU 7.2 saved for a disk of 64 MiB.
func TestConfigSpace(t *testing.T) {
	want, err := hex.DecodeString("000002000000000000000000fe0000008200103f00020000" +
		"0000000000000000" + "01000100ffff3f000100000001000000ffff3f000100000001")
	if err != nil {
		t.Fatal(err)
	}
	drive := newDrive(t, blocktest.NewMemory(make([]byte, 64<<20)), driverConfig{})
	m := vm.New(vm.Config{})
	b, err := NewBlock(BlockConfig{Machine: m, Slot: NewSlot(SlotConfig{Line: func(bool) {}}), Drive: drive})
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Config(); !bytes.Equal(got, want) {
		t.Errorf("config space\n%x\nwant\n%x", got, want)
	}
	for off, bytesWide := range map[uint64]int{0: 8, 0x0c: 4, 0x10: 2, 0x12: 1, 0x38: 1} {
		v, err := b.slot.ReadMMIO(regConfig+off, bytesWide)
		var full [8]byte
		copy(full[:bytesWide], want[off:])
		if err != nil || v != binary.LittleEndian.Uint64(full[:]) {
			t.Errorf("%d bytes at %#x: %#x, %v", bytesWide, off, v, err)
		}
	}
}

// TestXV6Features: that kernel accepts no VIRTIO_F_VERSION_1, and expects FEATURES_OK.
func TestXV6Features(t *testing.T) {
	d := newDriver(t, driverConfig{modern: true})
	for _, s := range []uint32{0, 1, 3} {
		d.write(regStatus, s)
	}
	d.write(regGuestFeatures, 0x6654)
	d.write(regStatus, 0xb)
	if got := d.read(regStatus); got != 0xb {
		t.Errorf("status %#x", got)
	}
	d.setUpQueue(8)
	d.write(regStatus, 0xf)
	if status, _ := d.do(d.request(blkRead, 0, 512, true)...); status != statusOK {
		t.Errorf("request: status %d", status)
	}
}

func TestFeaturesAreSettledOnce(t *testing.T) {
	d := newDriver(t, driverConfig{modern: true})
	d.negotiate(blkFlush | 1<<50)
	d.write(regGuestFeatures, 0)
	if d.slot.features != blkFlush|FeatureVersion1 {
		t.Errorf("features %#x", d.slot.features)
	}
	d.write(regStatus, 0)
	if d.slot.features != 0 || d.read(regStatus) != 0 {
		t.Errorf("after a reset: features %#x, status %#x", d.slot.features, d.read(regStatus))
	}
}

func TestQueueIsTakenAway(t *testing.T) {
	bothTransports(t, func(t *testing.T, modern bool) {
		d := newDriver(t, driverConfig{modern: modern})
		d.start(FeatureRingReset, 8)
		if modern {
			d.write(regQueueReset, 1)
		} else {
			d.write(regQueuePage, 0)
		}
		d.offer(d.chain(d.request(blkRead, 0, 512, true)...))
		d.notify()
		if done := d.completed(); len(done) != 0 {
			t.Errorf("completed %v", done)
		}
		d.setUpQueue(4)
		if status, _ := d.do(d.request(blkRead, 0, 512, true)...); status != statusOK {
			t.Errorf("with a new queue: status %d", status)
		}
	})
}

// TestInterruptSuppression checks sections 2.7.7 and 2.7.10.
func TestInterruptSuppression(t *testing.T) {
	request := func(d *driver) bool {
		d.write(regInterruptAck, interruptRing)
		d.do(d.request(blkFlushRequest, 0, 0, false)...)
		return d.level
	}
	t.Run("flags", func(t *testing.T) {
		d := newDriver(t, driverConfig{modern: true})
		d.start(0, 8)
		d.put16(d.avail, availNoIntr)
		if request(d) {
			t.Error("interrupt although the driver wants none")
		}
		d.put16(d.avail, 0)
		if !request(d) {
			t.Error("no interrupt")
		}
	})
	t.Run("notify on empty", func(t *testing.T) {
		d := newDriver(t, driverConfig{})
		d.start(FeatureNotifyOnEmpty, 8)
		d.put16(d.avail, availNoIntr)
		if !request(d) {
			t.Error("no interrupt although the queue is empty")
		}
	})
	t.Run("event index", func(t *testing.T) {
		d := newDriver(t, driverConfig{modern: true})
		d.start(FeatureEventIdx, 8)
		usedEvent := d.avail + 4 + 2*8
		availEvent := d.used + 4 + 8*8
		d.put16(usedEvent, 2) // when the third is used
		for i, want := range []bool{true, false, true, false} {
			if got := request(d); got != want {
				t.Errorf("request %d: interrupt %v, want %v", i, got, want)
			}
			if got := d.get16(availEvent); got != uint16(i+1) {
				t.Errorf("request %d: avail_event is %d", i, got)
			}
		}
	})
}

// TestBuffersOfferedBeforeTheStartAreSeen: a driver need not notify of what was there.
func TestBuffersOfferedBeforeTheStartAreSeen(t *testing.T) {
	d := newDriver(t, driverConfig{modern: true})
	d.negotiate(blkFlush)
	d.setUpQueue(8)
	d.offer(d.chain(d.request(blkRead, 0, 512, true)...))
	d.write(regStatus, d.read(regStatus)|StatusDriverOK)
	if done := d.completed(); len(done) != 1 {
		t.Errorf("completed %v", done)
	}
}

func TestSlotsTakeOneFunction(t *testing.T) {
	d := newDriver(t, driverConfig{})
	_, err := NewBlock(BlockConfig{
		Machine: d.machine, Slot: d.slot, Drive: newDrive(t, blocktest.NewMemory(make([]byte, 512)), driverConfig{}),
	})
	if err == nil || err.Error() != "Bus 'virtio-mmio-bus.7' is full" {
		t.Error(err)
	}
}
