package virtio

import (
	"errors"
	"fmt"
	"syscall"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/vm"
)

// Feature bits of the block device (section 5.2.3).
const (
	blkSegMax      = 1 << 2
	blkGeometry    = 1 << 4
	blkReadOnly    = 1 << 5
	blkBlockSize   = 1 << 6
	blkSCSI        = 1 << 7 // legacy; offered as QEMU does, and refused when used
	blkFlush       = 1 << 9
	blkTopology    = 1 << 10
	blkConfigWCE   = 1 << 11
	blkDiscard     = 1 << 13
	blkWriteZeroes = 1 << 14
)

const (
	// blkQueueSize is the size of the queue unless the driver chooses another.
	blkQueueSize = 256
)

// BlockConfig describes a block device to be made.
type BlockConfig struct {
	Machine *vm.Machine
	Slot    *Slot
	Drive   *blockdev.Drive // has a medium
	ID      string          // the user's id, may be empty
	Serial  string          // at most 20 bytes count
	// Path is what the drive says it is attached to; "" makes one from ID.
	Path string
}

// Block is a virtio block device. Requests run on goroutines beside the processors;
// their results reach the guest between two instructions.
type Block struct {
	machine *vm.Machine
	slot    *Slot
	drive   *blockdev.Drive
	id      string
	serial  string

	capacity  uint64 // 512-byte sectors, as the driver last saw it
	writeback bool   // the guest flushes; otherwise each write is flushed
	pool      workers
}

var (
	_ vm.Device            = (*Block)(nil)
	_ vm.Drainer           = (*Block)(nil)
	_ Function             = (*Block)(nil)
	_ blockdev.DriveEvents = (*Block)(nil)
)

// NewBlock makes a block device and puts it into its slot.
func NewBlock(c BlockConfig) (*Block, error) {
	if _, err := c.Drive.Size(); err != nil {
		return nil, fmt.Errorf("Device needs media, but drive is empty")
	}
	b := &Block{
		machine: c.Machine, slot: c.Slot, drive: c.Drive, id: c.ID, serial: c.Serial,
		writeback: true,
	}
	b.measure()
	b.pool.init(c.Machine)
	path := c.Path
	if path == "" {
		path = "/machine/peripheral/" + c.ID
	}
	if err := c.Drive.Attach(path, b); err != nil {
		return nil, err
	}
	if err := c.Slot.Plug(b); err != nil {
		c.Drive.Detach()
		return nil, err
	}
	b.pool.retryOnResume(c.Slot, b)
	return b, nil
}

// Drive is the drive behind the device.
func (b *Block) Drive() *blockdev.Drive { return b.drive }

// Name implements vm.Device.
func (b *Block) Name() string { return b.slot.Name() + "/virtio-blk" }

// Type implements Function.
func (b *Block) Type() string { return "virtio-blk" }

// Version implements Function.
func (b *Block) Version() uint32 { return 2 }

// ListsRequests implements Function.
func (b *Block) ListsRequests() bool { return true }

// ID implements Function.
func (b *Block) ID() uint32 { return 2 }

// QueueSizes implements Function.
func (b *Block) QueueSizes() []int { return []int{blkQueueSize} }

// Features implements Function.
func (b *Block) Features() uint64 {
	f := uint64(blkSegMax | blkGeometry | blkBlockSize | blkFlush | blkTopology |
		blkConfigWCE | blkDiscard | blkWriteZeroes)
	if b.slot.legacy {
		f |= blkSCSI
	}
	if b.drive.ReadOnly() {
		f |= blkReadOnly
	}
	return f
}

// Notify implements Function: it starts the requests that wait in the queue.
func (b *Block) Notify(q *Queue) { b.pool.serve(q, b.request) }

// request answers a request, or has it run beside the processors.
func (b *Block) request(q *Queue, c *Chain) {
	r := b.newRequest(q, c)
	if r == nil {
		return
	}
	if !r.needsDrive() {
		r.finish()
		return
	}
	r.flushAfter = !b.flushedByGuest()
	b.pool.start(r)
}

// flushedByGuest tells if the driver knows that written data must be flushed. One that
// took neither feature does not, and gets every write flushed (section 5.2.6.2).
func (b *Block) flushedByGuest() bool {
	if b.slot.has(blkConfigWCE) {
		return b.writeback
	}
	return b.slot.has(blkFlush)
}

// finish returns a request to the guest, or keeps it because the drive's error policy says
// that the machine stops.
func (r *blkRequest) finish() {
	b := r.block
	if r.err != nil {
		switch errorAction(b.drive, r.kind != blkRead, r.err) {
		case blockdev.ErrorStop:
			b.pool.hold(r.queue, r.chain)
			return
		case blockdev.ErrorIgnore:
			r.status = statusOK
		}
	}
	r.chain.In.Wrote()
	r.status8.CopyFrom([]byte{r.status})
	r.status8.Wrote()
	r.queue.Push(r.chain, uint32(min(r.written+1, 1<<32-1)))
	r.queue.Signal()
}

// errorAction is what the drive's rerror= or werror= says of a request that failed.
func errorAction(d *blockdev.Drive, write bool, err error) blockdev.ErrorAction {
	policy := d.Config().Errors
	action := policy.Read
	if write {
		action = policy.Write
	}
	if action == blockdev.ErrorENOSPC {
		if errors.Is(err, blockdev.ErrNoSpace) || errors.Is(err, syscall.ENOSPC) {
			return blockdev.ErrorStop
		}
		return blockdev.ErrorReport
	}
	return action
}

// Drain implements vm.Drainer.
func (b *Block) Drain() { b.pool.drain() }

// Reset implements both vm.Device and Function.
func (b *Block) Reset() {
	b.pool.drop()
	b.writeback = true
}

// MediumChanged implements blockdev.DriveEvents: the disk is not removable.
func (b *Block) MediumChanged(bool) {}

// TrayMoved implements blockdev.DriveEvents: there is none.
func (b *Block) TrayMoved(bool) {}

// EjectRequested implements blockdev.DriveEvents: the disk is not removable.
func (b *Block) EjectRequested(bool) {}

// Resized implements blockdev.DriveEvents.
func (b *Block) Resized() {
	b.machine.Post(func() {
		b.measure()
		b.slot.configChanged()
	})
}

// measure looks at how large the disk is.
func (b *Block) measure() {
	if size, err := b.drive.Size(); err == nil {
		b.capacity = uint64(size) / sectorSize
	}
}

// States implements vm.Device: one section for the device and its slot.
func (b *Block) States() []vm.State { return []vm.State{sectionState{b.slot}} }
