package virtio

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"testing"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/blockdev/blocktest"
	"github.com/qmon/qmon/vm"
)

func pattern(seed byte, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = seed + byte(i*7)
	}
	return p
}

func TestWriteAndRead(t *testing.T) {
	bothTransports(t, func(t *testing.T, modern bool) {
		d := newDriver(t, driverConfig{modern: modern})
		d.start(0, 8)
		want := pattern(3, 4096)
		d.put(dataAt, want)
		if status, n := d.do(d.request(blkWrite, 5, 4096, false)...); status != statusOK || n != 1 {
			t.Errorf("write: status %d, %d bytes", status, n)
		}
		if got := d.disk.Bytes()[5*512:][:4096]; !bytes.Equal(got, want) {
			t.Error("the disk holds something else")
		}
		d.put(dataAt, make([]byte, 4096))
		if status, n := d.do(d.request(blkRead, 5, 4096, true)...); status != statusOK || n != 4097 {
			t.Errorf("read: status %d, %d bytes", status, n)
		}
		if !bytes.Equal(d.get(dataAt, 4096), want) {
			t.Error("read something else")
		}
		if !d.level || d.read(regInterrupt) != interruptRing {
			t.Errorf("line %v, interrupt status %#x", d.level, d.read(regInterrupt))
		}
		d.write(regInterruptAck, interruptRing)
		if d.level {
			t.Error("the line is high after the acknowledgement")
		}
	})
}

// TestChainsMaySplitAnywhere has header, data and status in pieces, directly and through an
// indirect table (section 2.6.4: no assumptions about framing).
func TestChainsMaySplitAnywhere(t *testing.T) {
	for _, indirect := range []bool{false, true} {
		t.Run(fmt.Sprintf("indirect=%v", indirect), func(t *testing.T) {
			d := newDriver(t, driverConfig{modern: true})
			d.start(FeatureIndirect, 16)
			want := pattern(9, 1024)
			if _, err := d.disk.WriteAt(want, 512); err != nil {
				t.Fatal(err)
			}
			d.put(headerAt, header(blkRead, 1))
			bufs := []buf{
				{headerAt, 5, 0}, {headerAt + 5, 11, 0},
				{dataAt, 1, descWrite}, {dataAt + 1, 700, descWrite}, {dataAt + 0x800, 300, descWrite},
				{dataAt + 0x1000, 24, descWrite}, // the last one of them is the status
			}
			if indirect {
				const table = dataBase + 0x8000
				for i, b := range bufs {
					flags, next := uint16(descNext), uint16(i+1)
					if i == len(bufs)-1 {
						flags, next = 0, 0
					}
					d.put(table+16*uint64(i), encodeDescriptor(b, flags, next))
				}
				bufs = []buf{{table, uint32(16 * len(bufs)), descIndirect}}
			}
			d.offer(d.chain(bufs...))
			d.notify()
			if done := d.completed(); len(done) != 1 || done[0].n != 1025 {
				t.Fatalf("completed %v", done)
			}
			got := append(d.get(dataAt, 701), d.get(dataAt+0x800, 300)...)
			got = append(got, d.get(dataAt+0x1000, 23)...)
			if !bytes.Equal(got, want) {
				t.Error("read something else")
			}
			if status := d.get(dataAt+0x1000+23, 1)[0]; status != statusOK {
				t.Errorf("status %d", status)
			}
		})
	}
}

func segment(sector uint64, sectors, flags uint32) []byte {
	p := binary.LittleEndian.AppendUint64(nil, sector)
	p = binary.LittleEndian.AppendUint32(p, sectors)
	return binary.LittleEndian.AppendUint32(p, flags)
}

func TestRequests(t *testing.T) {
	const last = diskSize/512 - 1
	for _, test := range []struct {
		name     string
		kind     uint32
		sector   uint64
		out      []byte // data that the device reads
		in       uint32 // bytes that it may write
		readOnly bool
		status   byte
	}{
		{name: "read the last sector", kind: blkRead, sector: last, in: 512},
		{name: "read nothing", kind: blkRead, sector: last + 1},
		{name: "read past the end", kind: blkRead, sector: last, in: 1024, status: statusIOError},
		{name: "read far past the end", kind: blkRead, sector: 1 << 63, in: 512, status: statusIOError},
		{name: "read half a sector", kind: blkRead, in: 256, status: statusIOError},
		{name: "write", kind: blkWrite, out: make([]byte, 512)},
		{name: "write with the barrier bit", kind: blkWrite | blkBarrier, out: make([]byte, 512)},
		{name: "write past the end", kind: blkWrite, sector: last + 1, out: make([]byte, 512), status: statusIOError},
		{name: "write to a read-only disk", kind: blkWrite, out: make([]byte, 512), readOnly: true, status: statusIOError},
		{name: "read from a read-only disk", kind: blkRead, in: 512, readOnly: true},
		{name: "flush", kind: blkFlushRequest},
		{name: "discard", kind: blkDiscardReq, out: segment(1, 2, 0)},
		{name: "discard with unmap", kind: blkDiscardReq, out: segment(1, 2, 1), status: statusUnsupported},
		{name: "discard past the end", kind: blkDiscardReq, out: segment(last, 2, 0), status: statusIOError},
		{name: "discard two segments", kind: blkDiscardReq, out: append(segment(1, 1, 0), segment(3, 1, 0)...), status: statusUnsupported},
		{name: "discard a read-only disk", kind: blkDiscardReq, out: segment(1, 2, 0), readOnly: true, status: statusIOError},
		{name: "write zeroes", kind: blkZeroRequest, out: segment(1, 2, 0)},
		{name: "write zeroes, may unmap", kind: blkZeroRequest, out: segment(1, 2, 1)},
		{name: "write zeroes, unknown flag", kind: blkZeroRequest, out: segment(1, 2, 4), status: statusUnsupported},
		{name: "write too many zeroes", kind: blkZeroRequest, out: segment(0, maxBlkSectors+1, 0), status: statusIOError},
		{name: "SCSI command", kind: 2, in: 512, status: statusUnsupported},
		{name: "unknown", kind: 99, status: statusUnsupported},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := newDriver(t, driverConfig{modern: true, readOnly: test.readOnly})
			d.start(blkFlush, 8)
			n := max(uint32(len(test.out)), test.in)
			bufs := d.request(test.kind, test.sector, n, test.in > 0)
			d.put(dataAt, test.out)
			if status, _ := d.do(bufs...); status != test.status {
				t.Errorf("status %d, want %d", status, test.status)
			}
			if got := d.read(regStatus); got&StatusNeedsReset != 0 {
				t.Errorf("the device is stopped: %#x", got)
			}
		})
	}
}

func TestGetID(t *testing.T) {
	for serial, want := range map[string]string{
		"":                        "\x00",
		"short":                   "short\x00",
		"exactly twenty bytes":    "exactly twenty bytes",
		"more than twenty bytes!": "more than twenty byt",
	} {
		d := newDriver(t, driverConfig{serial: serial})
		d.start(0, 8)
		status, n := d.do(d.request(blkGetID, 0, blkIDSize, true)...)
		if got := d.get(dataAt, blkIDSize); status != statusOK || n != blkIDSize+1 || !bytes.HasPrefix(got, []byte(want)) {
			t.Errorf("%q: status %d, %d bytes, %q", serial, status, n, got)
		}
	}
}

func TestDiscardAndWriteZeroesReachTheDisk(t *testing.T) {
	d := newDriver(t, driverConfig{modern: true})
	if _, err := d.disk.WriteAt(pattern(1, 4096), 0); err != nil {
		t.Fatal(err)
	}
	d.start(blkFlush, 8)
	bufs := d.request(blkZeroRequest, 0, blkSegmentSize, false)
	d.put(dataAt, segment(2, 3, 0))
	d.do(bufs...)
	want := pattern(1, 4096)
	clear(want[2*512 : 5*512])
	if !bytes.Equal(d.disk.Bytes()[:4096], want) {
		t.Error("zeroes are not where they should be")
	}
}

// TestWritesAreFlushedForDriversThatDoNot checks section 5.2.6.2: without FLUSH a write is
// on the medium when it is complete, and with CONFIG_WCE the driver chooses.
func TestWritesAreFlushedForDriversThatDoNot(t *testing.T) {
	for _, test := range []struct {
		name      string
		features  uint64
		writeback []byte // written to the config space
		flushes   int
	}{
		{"neither feature", 0, nil, 1},
		{"flush", blkFlush, nil, 0},
		{"config, untouched", blkFlush | blkConfigWCE, nil, 0},
		{"config, write-through", blkFlush | blkConfigWCE, []byte{0}, 1},
		{"config, and back", blkFlush | blkConfigWCE, []byte{0, 1}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var disk *blocktest.Faulty
			d := newDriver(t, driverConfig{modern: true, node: func(m *blocktest.Memory) blockdev.Node {
				disk = blocktest.NewFaulty(m)
				return disk
			}})
			d.start(test.features, 8)
			for _, v := range test.writeback {
				if err := d.slot.WriteMMIO(regConfig+cfgWriteback, 1, uint64(v)); err != nil {
					t.Fatal(err)
				}
			}
			d.do(d.request(blkWrite, 0, 512, false)...)
			if got := disk.Count(blocktest.OpFlush); got != test.flushes {
				t.Errorf("%d flushes, want %d", got, test.flushes)
			}
		})
	}
}

func TestErrorPolicies(t *testing.T) {
	for _, test := range []struct {
		name   string
		kind   uint32
		policy blockdev.ErrorPolicy
		err    error
		status byte
		stops  bool
	}{
		{"read, report", blkRead, blockdev.ErrorPolicy{}, blockdev.ErrInvalid, statusIOError, false},
		{"read, ignore", blkRead, blockdev.ErrorPolicy{Read: blockdev.ErrorIgnore}, blockdev.ErrInvalid, statusOK, false},
		{"read, stop", blkRead, blockdev.ErrorPolicy{Read: blockdev.ErrorStop}, blockdev.ErrInvalid, unset, true},
		{"write, report", blkWrite, blockdev.ErrorPolicy{Read: blockdev.ErrorStop}, blockdev.ErrInvalid, statusIOError, false},
		{"write, enospc, other error", blkWrite, blockdev.ErrorPolicy{Write: blockdev.ErrorENOSPC}, blockdev.ErrInvalid, statusIOError, false},
		{"write, enospc, no space", blkWrite, blockdev.ErrorPolicy{Write: blockdev.ErrorENOSPC}, blockdev.ErrNoSpace, unset, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var disk *blocktest.Faulty
			d := newDriver(t, driverConfig{modern: true, errors: test.policy, node: func(m *blocktest.Memory) blockdev.Node {
				disk = blocktest.NewFaulty(m)
				return disk
			}})
			d.start(blkFlush, 8)
			disk.Inject(blocktest.Fault{Op: blocktest.OpRead | blocktest.OpWrite, Err: test.err})
			d.offer(d.chain(d.request(test.kind, 0, 512, test.kind == blkRead)...))
			d.notify()
			done := d.completed()
			if status := d.get(statusAt, 1)[0]; status != test.status || len(done) == 0 != test.stops {
				t.Fatalf("status %#x, completed %v", status, done)
			}
			if !test.stops {
				return
			}
			disk.Clear()
			d.block.Notify(d.slot.queues[0])
			if done := d.completed(); len(done) != 1 || d.get(statusAt, 1)[0] != statusOK {
				t.Errorf("after cont: completed %v, status %#x", done, d.get(statusAt, 1)[0])
			}
		})
	}
}

// TestStopPolicyStopsTheMachine runs a machine: io-error, and the request again on cont.
func TestStopPolicyStopsTheMachine(t *testing.T) {
	var disk *blocktest.Faulty
	d := newDriver(t, driverConfig{
		modern: true, errors: blockdev.ErrorPolicy{Write: blockdev.ErrorStop},
		node: func(m *blocktest.Memory) blockdev.Node {
			disk = blocktest.NewFaulty(m, blocktest.Fault{Op: blocktest.OpWrite, Err: blockdev.ErrNoSpace})
			return disk
		},
	})
	stopped := make(chan vm.RunState, 1)
	d.machine.Subscribe(func(e vm.Event) {
		if e.Kind == vm.EventStop {
			stopped <- e.State
		}
	})
	ended := make(chan error, 1)
	go func() { ended <- d.machine.Run(t.Context()) }()
	do := func(fn func()) {
		t.Helper()
		if err := d.machine.Do(fn); err != nil {
			t.Fatal(err)
		}
	}
	do(func() {
		if err := d.machine.Start(); err != nil {
			t.Error(err)
		}
		d.start(blkFlush, 8)
		d.offer(d.chain(d.request(blkWrite, 0, 512, false)...))
		d.notify()
	})
	if s := <-stopped; s != vm.StateIOError {
		t.Errorf("state %s", s)
	}
	do(func() {
		if done := d.completed(); len(done) != 0 {
			t.Errorf("completed %v", done)
		}
		disk.Clear()
		if err := d.machine.Start(); err != nil {
			t.Error(err)
		}
		if done := d.completed(); len(done) != 1 || d.get(statusAt, 1)[0] != statusOK {
			t.Errorf("after cont: completed %v", done)
		}
	})
	d.machine.Quit(0, vm.ReasonHostQuit)
	<-ended
}

func TestResizeIsAnnounced(t *testing.T) {
	d := newDriver(t, driverConfig{modern: true})
	d.start(blkFlush, 8)
	generation := d.read(regGeneration)
	ended := make(chan error, 1)
	go func() { ended <- d.machine.Run(t.Context()) }()
	if err := d.drive.Resize(2 * diskSize); err != nil {
		t.Fatal(err)
	}
	if err := d.machine.Do(func() {
		if got := d.read(regConfig); got != 2*diskSize/512 {
			t.Errorf("capacity %d", got)
		}
		if d.read(regInterrupt) != interruptConfig || d.read(regGeneration) == generation {
			t.Errorf("interrupt status %#x, generation %d", d.read(regInterrupt), d.read(regGeneration))
		}
	}); err != nil {
		t.Fatal(err)
	}
	d.machine.Quit(0, vm.ReasonHostQuit)
	<-ended
}

func TestManyRequestsAtOnce(t *testing.T) {
	d := newDriver(t, driverConfig{modern: true})
	d.start(blkFlush, 256)
	const n = 64
	for i := range n {
		at := uint64(dataBase + i*0x800)
		d.put(at, header(blkWrite, uint64(i)))
		d.put(at+0x200, pattern(byte(i), 512))
		d.offer(d.chain(buf{at, 16, 0}, buf{at + 0x200, 512, 0}, buf{at + 0x100, 1, descWrite}))
	}
	d.notify()
	if done := d.completed(); len(done) != n {
		t.Errorf("%d of %d requests are complete", len(done), n)
	}
	for i := range n {
		if !bytes.Equal(d.disk.Bytes()[i*512:][:512], pattern(byte(i), 512)) {
			t.Errorf("sector %d", i)
		}
	}
}

func TestReproducibleMachinesCompleteAtOnce(t *testing.T) {
	d := newDriver(t, driverConfig{clock: vm.NewInstructionClock(0)})
	d.start(0, 8)
	d.offer(d.chain(d.request(blkRead, 0, 512, true)...))
	d.notify()
	if d.get16(d.used+2) != 1 || !d.level {
		t.Error("the request is not complete when the notification returns")
	}
}

func TestDriveWithoutMediumIsRefused(t *testing.T) {
	m := vm.New(vm.Config{})
	_, err := NewBlock(BlockConfig{
		Machine: m, Slot: NewSlot(SlotConfig{Memory: m.Memory(), Line: func(bool) {}}),
		Drive: blockdev.NewDrive(blockdev.DriveConfig{Name: "empty"}),
	})
	if err == nil || err.Error() != "Device needs media, but drive is empty" {
		t.Error(err)
	}
}
