package virtio

import (
	"encoding/binary"
	"testing"

	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/vm"
	"github.com/qmon/qmon/vm/scsi"
)

// newSCSIDriver is a driver of a SCSI host with a disk and a CD-ROM drive, which has its
// request queue set up.
func newSCSIDriver(t *testing.T, modern bool) (*driver, *SCSI) {
	t.Helper()
	d := &driver{t: t, machine: vm.New(vm.Config{}), disk: blocktest.NewMemory(make([]byte, diskSize))}
	if _, err := d.machine.Memory().AddRAM("ram", ramBase, ramSize); err != nil {
		t.Fatal(err)
	}
	d.slot = NewSlot(SlotConfig{
		Memory: d.machine.Memory(), Base: slotBase, Bus: "virtio-mmio-bus.7", Legacy: !modern,
		Line: func(level bool) { d.level = level },
	})
	d.machine.AddDevice(d.slot)
	host, err := NewSCSI(SCSIConfig{Machine: d.machine, Slot: d.slot, ID: "s"})
	if err != nil {
		t.Fatal(err)
	}
	d.machine.AddDevice(host)
	for target, kind := range []scsi.Kind{scsi.Disk, scsi.CDROM} {
		drive := newDrive(t, d.disk, driverConfig{readOnly: kind == scsi.CDROM})
		if _, err := host.AddUnit(scsi.Config{
			Drive: drive, Kind: kind, Path: "/d", Address: scsi.Address{Target: target},
		}); err != nil {
			t.Fatal(err)
		}
	}
	d.queue = scsiRequestQueue
	d.negotiate(FeatureIndirect | FeatureEventIdx | scsiHotplug | scsiChange)
	d.setUpQueue(8)
	d.write(regStatus, d.read(regStatus)|StatusDriverOK)
	return d, host
}

// scsiRequestBytes is the head of a request with a READ (10) of one block.
func scsiRequestBytes(target byte) []byte {
	b := make([]byte, scsiRequestHead+defaultCDBSize)
	b[0], b[1], b[2] = 1, target, 0x40
	copy(b[scsiRequestHead:], []byte{0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0})
	return b
}

// TestHostileSCSIRequests has a driver send what is no request: the device stops, and works
// again after a reset.
func TestHostileSCSIRequests(t *testing.T) {
	const answer = scsiResponseHead + defaultSenseSize
	for name, bufs := range map[string][]buf{
		"a short request":     {{headerAt, 50, 0}, {dataAt, answer, descWrite}},
		"no room for answers": {{headerAt, 51, 0}, {dataAt, answer - 1, descWrite}},
		"nothing to write to": {{headerAt, 51, 0}},
		"nothing to read":     {{dataAt, answer, descWrite}},
		"data past RAM":       {{headerAt, 51, 0}, {dataAt, answer, descWrite}, {ramBase + ramSize - 256, 512, descWrite}},
	} {
		t.Run(name, func(t *testing.T) {
			d, host := newSCSIDriver(t, true)
			d.put(headerAt, scsiRequestBytes(0))
			d.offer(d.chain(bufs...))
			d.write(regQueueNotify, scsiRequestQueue)
			host.Drain()
			if d.get16(d.used+usedIdx) != 0 || !d.slot.broken {
				t.Error("the device goes on")
			}
		})
	}
}

// FuzzSCSIDriver lets random bytes be a driver of the SCSI host: register writes, rings, and
// requests. Nothing may panic, hang, get lost, or take memory on the guest's word.
func FuzzSCSIDriver(f *testing.F) {
	good, _ := newSCSIDriver(&testing.T{}, true)
	good.offer(good.chain(buf{headerAt, 51, 0}, buf{dataAt, 108, descWrite}, buf{dataAt + 108, 512, descWrite}))
	ring := good.get(ringBase, 0x200)
	f.Add(true, byte(0), []byte{0x50, 2, 0, 0, 0}, ring, scsiRequestBytes(0))
	f.Add(false, byte(2), []byte{0x50, 2, 0, 0, 0, 0x70, 0, 0, 0, 0}, ring, scsiRequestBytes(1))
	f.Add(true, byte(0), []byte{0x15, 0xff, 0xff, 0, 0, 0x19, 0xff, 0, 0, 0, 0x50, 2, 0, 0, 0}, ring, scsiRequestBytes(0))
	f.Fuzz(func(t *testing.T, modern bool, queue byte, script, ring, request []byte) {
		d, host := newSCSIDriver(t, modern)
		d.put(headerAt, request[:min(len(request), 0x200)])
		d.put(ringBase, ring[:min(len(ring), 0x4000)])
		d.write(regQueueNotify, uint32(queue%4))
		for len(script) >= 5 {
			off := uint64(script[0]) &^ 3
			if script[0]&1 != 0 {
				off += regConfig
			}
			d.write(off, binary.LittleEndian.Uint32(script[1:]))
			d.read(off)
			script = script[5:]
		}
		host.event(eventReset, scsi.Address{}, reasonRescan)
		host.Drain()
		for _, q := range d.slot.queues {
			if q.inFlight != 0 && !d.slot.broken {
				t.Errorf("queue %d: %d requests are lost", q.index, q.inFlight)
			}
		}
	})
}
