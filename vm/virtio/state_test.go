package virtio

import (
	"bytes"
	"encoding/binary"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/internal/peer"
	"github.com/qmon/qmon/savevm/vmstate"
)

func marshal(t testing.TB, d *driver) []byte {
	t.Helper()
	state, err := sectionState{d.slot}.Save()
	if err != nil {
		t.Fatal(err)
	}
	p, err := vmstate.Marshal("virtio-blk", 2, state)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func unmarshal(p []byte, state any) error { return vmstate.Unmarshal(p, "virtio-blk", 2, state) }

// load puts a section into a driver's device.
func load(t *testing.T, d *driver, section []byte) error {
	t.Helper()
	s := sectionState{d.slot}
	state := s.New()
	if err := unmarshal(section, state); err != nil {
		return err
	}
	if err := s.Check(state, 2); err != nil {
		return err
	}
	return s.Load(state, 2)
}

// qemuSection is what QEMU 7.2 saved of a disk of 64 MiB that U-Boot has read from.
func qemuSection(t *testing.T, transport string) []byte {
	t.Helper()
	return peer.Gunzip(t, "testdata/qemu-7.2-uboot-"+transport+".virtio-blk.gz")
}

// TestQEMUsSections loads what QEMU saved, works with it, and saves the same bytes.
func TestQEMUsSections(t *testing.T) {
	bothTransports(t, func(t *testing.T, modern bool) {
		d := newDriver(t, driverConfig{modern: modern, size: 64 << 20})
		// U-Boot has its rings here, and four requests done.
		const desc, avail, used = 0x83743000, 0x83747000, 0x83748000
		if _, err := d.machine.Memory().AddRAM("more", desc, 0x10000); err != nil {
			t.Fatal(err)
		}
		want := qemuSection(t, map[bool]string{false: "legacy", true: "modern"}[modern])
		const lastAvail = 104 - 1 - 2 // behind the queue's addresses, before the marker
		done := binary.BigEndian.Uint16(want[lastAvail:])
		d.put16(used+2, done)
		d.put16(avail+2, done)
		if err := load(t, d, want); err != nil {
			t.Fatal(err)
		}
		if got := marshal(t, d); !bytes.Equal(got, want) {
			t.Errorf("saved %d bytes, QEMU %d; the first that differs is %d", len(got), len(want), differ(got, want))
		}
		d.desc, d.avail, d.used, d.size = desc, avail, used, 1024
		d.nextAvail, d.seenUsed = done, done
		if status, _ := d.do(d.request(blkRead, 0, 512, true)...); status != statusOK {
			t.Errorf("request: status %d", status)
		}
	})
}

func differ(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestStateSurvives saves a device in use and goes on with another one in its place.
func TestStateSurvives(t *testing.T) {
	bothTransports(t, func(t *testing.T, modern bool) {
		d := newDriver(t, driverConfig{modern: modern})
		d.start(blkFlush|blkConfigWCE|FeatureEventIdx, 16)
		if err := d.slot.WriteMMIO(regConfig+cfgWriteback, 1, 0); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			d.do(d.request(blkRead, 0, 512, true)...)
		}
		section := marshal(t, d)
		other := newDriver(t, driverConfig{modern: modern})
		other.put(ramBase, d.get(ramBase, ramSize))
		if err := load(t, other, section); err != nil {
			t.Fatal(err)
		}
		if !other.level || other.block.writeback || other.slot.features != d.slot.features {
			t.Errorf("line %v, writeback %v, features %#x", other.level, other.block.writeback, other.slot.features)
		}
		if got := marshal(t, other); !bytes.Equal(got, section) {
			t.Errorf("saved again, byte %d differs", differ(got, section))
		}
		slot, block := other.slot, other.block
		other.size, other.desc, other.avail, other.used = d.size, d.desc, d.avail, d.used
		other.nextDesc, other.nextAvail, other.seenUsed = d.nextDesc, d.nextAvail, d.seenUsed
		other.slot, other.block = slot, block
		if status, _ := other.do(other.request(blkRead, 0, 512, true)...); status != statusOK {
			t.Errorf("request: status %d", status)
		}
	})
}

// TestRequestsThatStoppedTheMachineAreSaved saves between io-error and cont; the machine
// loaded does them on cont.
func TestRequestsThatStoppedTheMachineAreSaved(t *testing.T) {
	d := newDriver(t, driverConfig{
		modern: true, errors: blockdev.ErrorPolicy{Write: blockdev.ErrorStop},
		node: func(m *blocktest.Memory) blockdev.Node {
			return blocktest.NewFaulty(m, blocktest.Fault{Op: blocktest.OpWrite})
		},
	})
	d.start(blkFlush, 16)
	d.do(d.request(blkRead, 0, 512, true)...)
	bufs := d.request(blkWrite, 7, 512, false)
	d.put(dataAt, pattern(4, 512))
	d.offer(d.chain(bufs...))
	d.notify()
	if done := d.completed(); len(done) != 0 {
		t.Fatalf("completed %v", done)
	}
	section := marshal(t, d)
	other := newDriver(t, driverConfig{modern: true})
	other.put(ramBase, d.get(ramBase, ramSize))
	if err := load(t, other, section); err != nil {
		t.Fatal(err)
	}
	other.block.Notify(other.slot.queues[0])
	other.used, other.size, other.seenUsed = d.used, d.size, d.seenUsed
	if done := other.completed(); len(done) != 1 || other.get(statusAt, 1)[0] != statusOK {
		t.Errorf("completed %v, status %#x", done, other.get(statusAt, 1)[0])
	}
	if !bytes.Equal(other.disk.Bytes()[7*512:8*512], pattern(4, 512)) {
		t.Error("the write is lost")
	}
}

func TestStatesThatDoNotFitAreRefused(t *testing.T) {
	legacy := qemuSection(t, "legacy")
	change := func(off int, v ...byte) []byte {
		p := bytes.Clone(legacy)
		copy(p[off:], v)
		return p
	}
	for name, section := range map[string][]byte{
		"the other transport":      qemuSection(t, "modern"),
		"a request in flight":      change(103, 1),
		"two queues":               change(81, 0, 0, 0, 2),
		"millions of queues":       change(81, 0xff, 0xff, 0xff, 0xff),
		"a huge config space":      change(20, 0xff, 0xff, 0xff, 0xff),
		"a size that is no power":  change(85, 0, 0, 0, 3),
		"a queue that is too long": change(85, 0, 0, 8, 0),
		"features not offered":     change(131, 0, 0, 0, 0, 0, 0, 0, 1),
		"cut off":                  legacy[:50],
	} {
		d := newDriver(t, driverConfig{})
		before := marshal(t, d)
		s := sectionState{d.slot}
		state := s.New()
		err := unmarshal(section, state)
		if err == nil {
			err = s.Check(state, 2)
		}
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
		if !bytes.Equal(before, marshal(t, d)) {
			t.Errorf("%s: the device has changed", name)
		}
	}
}

// TestInconsistentRingsStopTheDevice: the used ring has to be where the state says.
func TestInconsistentRingsStopTheDevice(t *testing.T) {
	d := newDriver(t, driverConfig{modern: true})
	d.start(0, 8)
	d.do(d.request(blkRead, 0, 512, true)...)
	section := marshal(t, d)
	d.put16(d.used+2, 99)
	if err := load(t, d, section); err != nil {
		t.Fatal(err)
	}
	if !d.slot.broken {
		t.Error("the device goes on")
	}
}

// TestAStoppedDeviceStaysStopped: what the guest broke is not mended by a snapshot.
func TestAStoppedDeviceStaysStopped(t *testing.T) {
	bothTransports(t, func(t *testing.T, modern bool) {
		d := newDriver(t, driverConfig{modern: modern})
		d.start(0, 8)
		d.offer(99)
		d.notify()
		section := marshal(t, d)
		if !bytes.Contains(section, []byte("\x05\x0dvirtio/broken\x00\x00\x00\x01\x01")) {
			t.Error("the section does not say that the device is broken, as QEMU's does")
		}
		other := newDriver(t, driverConfig{modern: modern})
		other.put(ramBase, d.get(ramBase, ramSize))
		if err := load(t, other, section); err != nil || !other.slot.broken {
			t.Errorf("loaded: broken %v, %v", other.slot.broken, err)
		}
	})
}
