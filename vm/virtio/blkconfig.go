package virtio

import (
	"encoding/binary"

	"github.com/qmon/qmon/vm"
)

// The config space of the block device (section 5.2.4).
const (
	blkConfigSize = 57

	cfgCapacity       = 0x00
	cfgSegMax         = 0x0c
	cfgCylinders      = 0x10
	cfgHeads          = 0x12
	cfgSectors        = 0x13
	cfgBlockSize      = 0x14
	cfgWriteback      = 0x20
	cfgQueues         = 0x22
	cfgMaxDiscard     = 0x24
	cfgDiscardSegs    = 0x28
	cfgDiscardAlign   = 0x2c
	cfgMaxZeroes      = 0x30
	cfgZeroSegs       = 0x34
	cfgZeroesMayUnmap = 0x38

	// blkMaxSegments leaves room for header and status in a queue of 256.
	blkMaxSegments = blkQueueSize - 2

	geometryHeads   = 16
	geometrySectors = 63
	maxCylinders    = 16383
	minCylinders    = 2
)

// Config implements Function.
func (b *Block) Config() []byte {
	c := make([]byte, blkConfigSize)
	le := binary.LittleEndian
	le.PutUint64(c[cfgCapacity:], b.capacity)
	le.PutUint32(c[cfgSegMax:], blkMaxSegments)
	le.PutUint16(c[cfgCylinders:], b.cylinders())
	c[cfgHeads], c[cfgSectors] = geometryHeads, geometrySectors
	le.PutUint32(c[cfgBlockSize:], sectorSize)
	if b.writeback {
		c[cfgWriteback] = 1
	}
	le.PutUint16(c[cfgQueues:], 1)
	le.PutUint32(c[cfgMaxDiscard:], maxBlkSectors)
	le.PutUint32(c[cfgDiscardSegs:], 1)
	le.PutUint32(c[cfgDiscardAlign:], 1)
	le.PutUint32(c[cfgMaxZeroes:], maxBlkSectors)
	le.PutUint32(c[cfgZeroSegs:], 1)
	c[cfgZeroesMayUnmap] = 1
	return c
}

// LoadConfig implements Function: only the write cache is the driver's. The disk is as
// large as it is now: loadvm has put it back before.
func (b *Block) LoadConfig(c []byte) {
	b.measure()
	if len(c) > cfgWriteback {
		b.writeback = c[cfgWriteback] != 0
	}
}

func (b *Block) cylinders() uint16 {
	n := b.capacity / (geometryHeads * geometrySectors)
	return uint16(min(max(n, minCylinders), maxCylinders))
}

// WriteConfig implements Function: a driver may switch the write cache (section 5.2.5).
func (b *Block) WriteConfig(off int, p []byte) {
	if off == cfgWriteback && len(p) == 1 && b.slot.has(blkConfigWCE) {
		b.writeback = p[0] != 0
	}
}

// Description implements Function.
func (b *Block) Description() vm.Description {
	quoted := func(name string) vm.Property { return vm.Text(name, "auto") }
	return vm.Description{
		Type: "virtio-blk-device",
		ID:   b.id,
		Properties: []vm.Property{
			vm.Text("drive", b.drive.Name()),
			quoted("backend_defaults"),
			vm.Bytes("logical_block_size", sectorSize),
			vm.Bytes("physical_block_size", sectorSize),
			vm.Bytes("min_io_size", 0),
			vm.Bytes("opt_io_size", 0),
			vm.Bytes("discard_granularity", 1<<32-1),
			quoted("write-cache"),
			vm.Boolean("share-rw", false),
			quoted("account-invalid"),
			quoted("account-failed"),
			quoted("rerror"),
			quoted("werror"),
			vm.Number("cyls", uint64(b.cylinders())),
			vm.Number("heads", geometryHeads),
			vm.Number("secs", geometrySectors),
			vm.Number("lcyls", 0),
			vm.Number("lheads", 0),
			vm.Number("lsecs", 0),
			vm.Text("serial", b.serial),
			vm.Boolean("config-wce", true),
			vm.Boolean("scsi", false),
			vm.Boolean("request-merging", true),
			vm.Number("num-queues", 1),
			vm.Number("queue-size", blkQueueSize),
			vm.Boolean("seg-max-adjust", true),
			vm.Boolean("discard", true),
			vm.Boolean("report-discard-granularity", true),
			vm.Boolean("write-zeroes", true),
			vm.Number("max-discard-sectors", maxBlkSectors),
			vm.Number("max-write-zeroes-sectors", maxBlkSectors),
			vm.Boolean("x-enable-wce-if-config-wce", true),
			vm.Boolean("indirect_desc", true),
			vm.Boolean("event_idx", true),
			vm.Boolean("notify_on_empty", true),
			vm.Boolean("any_layout", false),
			vm.Boolean("iommu_platform", false),
			vm.Boolean("packed", false),
			vm.Boolean("queue_reset", true),
			vm.Boolean("use-started", true),
			vm.Boolean("use-disabled-flag", true),
			vm.Boolean("x-disable-legacy-check", false),
		},
	}
}
