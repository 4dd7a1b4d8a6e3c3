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
	quoted := func(name string) vm.Property { return text(name, "auto") }
	return vm.Description{
		Type: "virtio-blk-device",
		ID:   b.id,
		Properties: []vm.Property{
			text("drive", b.drive.Name()),
			quoted("backend_defaults"),
			size("logical_block_size", sectorSize),
			size("physical_block_size", sectorSize),
			size("min_io_size", 0),
			size("opt_io_size", 0),
			size("discard_granularity", 1<<32-1),
			quoted("write-cache"),
			boolean("share-rw", false),
			quoted("account-invalid"),
			quoted("account-failed"),
			quoted("rerror"),
			quoted("werror"),
			number("cyls", uint64(b.cylinders())),
			number("heads", geometryHeads),
			number("secs", geometrySectors),
			number("lcyls", 0),
			number("lheads", 0),
			number("lsecs", 0),
			text("serial", b.serial),
			boolean("config-wce", true),
			boolean("scsi", false),
			boolean("request-merging", true),
			number("num-queues", 1),
			number("queue-size", blkQueueSize),
			boolean("seg-max-adjust", true),
			boolean("discard", true),
			boolean("report-discard-granularity", true),
			boolean("write-zeroes", true),
			number("max-discard-sectors", maxBlkSectors),
			number("max-write-zeroes-sectors", maxBlkSectors),
			boolean("x-enable-wce-if-config-wce", true),
			boolean("indirect_desc", true),
			boolean("event_idx", true),
			boolean("notify_on_empty", true),
			boolean("any_layout", false),
			boolean("iommu_platform", false),
			boolean("packed", false),
			boolean("queue_reset", true),
			boolean("use-started", true),
			boolean("use-disabled-flag", true),
			boolean("x-disable-legacy-check", false),
		},
	}
}
