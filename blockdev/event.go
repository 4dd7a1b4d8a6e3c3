package blockdev

import "slices"

// Event is a step in the life of an image that a driver tells what is below it about,
// before it takes the step: so a test can make just that one fail, or wait. See
// blockdev/filter/blkdebug. Names and meanings are QEMU's (BlkdebugEvent).
type Event string

// The events.
const (
	EventL1Update                 Event = "l1_update"                   // entries of the L1 table are written
	EventL1GrowAllocTable         Event = "l1_grow_alloc_table"         // space for a longer L1 table is allocated
	EventL1GrowWriteTable         Event = "l1_grow_write_table"         // the longer L1 table is written
	EventL1GrowActivateTable      Event = "l1_grow_activate_table"      // the header is made to point to it
	EventL2Load                   Event = "l2_load"                     // an L2 table is read
	EventL2Update                 Event = "l2_update"                   // an L2 table is written
	EventL2UpdateCompressed       Event = "l2_update_compressed"        // the entry of a compressed cluster is made
	EventL2AllocCOWRead           Event = "l2_alloc_cow_read"           // an L2 table that a snapshot shares is read to be copied
	EventL2AllocWrite             Event = "l2_alloc_write"              // a new L2 table is made
	EventReadAIO                  Event = "read_aio"                    // guest data is read
	EventReadBackingAIO           Event = "read_backing_aio"            // guest data is read from the backing file
	EventReadCompressed           Event = "read_compressed"             // compressed data is read
	EventWriteAIO                 Event = "write_aio"                   // guest data is written
	EventWriteCompressed          Event = "write_compressed"            // compressed data is written
	EventVmstateLoad              Event = "vmstate_load"                // VM state is read
	EventVmstateSave              Event = "vmstate_save"                // VM state is written
	EventCOWRead                  Event = "cow_read"                    // what is around a small write is read
	EventCOWWrite                 Event = "cow_write"                   // and written to its new place
	EventReftableLoad             Event = "reftable_load"               // the refcount table is read
	EventReftableGrow             Event = "reftable_grow"               // the refcount table becomes longer
	EventReftableUpdate           Event = "reftable_update"             // an entry of the refcount table changes
	EventRefblockLoad             Event = "refblock_load"               // a refcount block is read
	EventRefblockUpdate           Event = "refblock_update"             // a refcount block changes
	EventRefblockUpdatePart       Event = "refblock_update_part"        // a refcount block is written
	EventRefblockAlloc            Event = "refblock_alloc"              // a refcount block is allocated
	EventRefblockAllocHookup      Event = "refblock_alloc_hookup"       // the refcount table is made to point to it
	EventRefblockAllocWrite       Event = "refblock_alloc_write"        // the new refcount block is written
	EventRefblockAllocWriteBlocks Event = "refblock_alloc_write_blocks" // blocks are written for a table that grew
	EventRefblockAllocWriteTable  Event = "refblock_alloc_write_table"  // the table that grew is written
	EventRefblockAllocSwitchTable Event = "refblock_alloc_switch_table" // the header is made to point to it
	EventClusterAlloc             Event = "cluster_alloc"               // clusters are allocated
	EventClusterAllocBytes        Event = "cluster_alloc_bytes"         // a part of a cluster is allocated
	EventClusterFree              Event = "cluster_free"                // clusters are freed
	EventFlushToOS                Event = "flush_to_os"                 // metadata held in memory is written
	EventFlushToDisk              Event = "flush_to_disk"               // the disk is told to keep it
	EventPwritevRMWHead           Event = "pwritev_rmw_head"            // what is before a misaligned write is read
	EventPwritevRMWAfterHead      Event = "pwritev_rmw_after_head"      // it was
	EventPwritevRMWTail           Event = "pwritev_rmw_tail"            // what is behind it is read
	EventPwritevRMWAfterTail      Event = "pwritev_rmw_after_tail"      // it was
	EventPwritev                  Event = "pwritev"                     // a write is passed on
	EventPwritevZero              Event = "pwritev_zero"                // a write of zeroes is
	EventPwritevDone              Event = "pwritev_done"                // a write has ended
	EventEmptyImagePrepare        Event = "empty_image_prepare"         // an image is emptied as a whole
	EventL1ShrinkWriteTable       Event = "l1_shrink_write_table"       // the end of the L1 table is cleared
	EventL1ShrinkFreeL2Clusters   Event = "l1_shrink_free_l2_clusters"  // L2 tables are freed as a disk shrinks
	EventCorWrite                 Event = "cor_write"                   // what was read is written to the image above
	EventClusterAllocSpace        Event = "cluster_alloc_space"         // room is made in the file
	EventNone                     Event = "none"                        // the node has been opened
)

var events = []Event{
	EventL1Update,
	EventL1GrowAllocTable,
	EventL1GrowWriteTable,
	EventL1GrowActivateTable,
	EventL2Load,
	EventL2Update,
	EventL2UpdateCompressed,
	EventL2AllocCOWRead,
	EventL2AllocWrite,
	EventReadAIO,
	EventReadBackingAIO,
	EventReadCompressed,
	EventWriteAIO,
	EventWriteCompressed,
	EventVmstateLoad,
	EventVmstateSave,
	EventCOWRead,
	EventCOWWrite,
	EventReftableLoad,
	EventReftableGrow,
	EventReftableUpdate,
	EventRefblockLoad,
	EventRefblockUpdate,
	EventRefblockUpdatePart,
	EventRefblockAlloc,
	EventRefblockAllocHookup,
	EventRefblockAllocWrite,
	EventRefblockAllocWriteBlocks,
	EventRefblockAllocWriteTable,
	EventRefblockAllocSwitchTable,
	EventClusterAlloc,
	EventClusterAllocBytes,
	EventClusterFree,
	EventFlushToOS,
	EventFlushToDisk,
	EventPwritevRMWHead,
	EventPwritevRMWAfterHead,
	EventPwritevRMWTail,
	EventPwritevRMWAfterTail,
	EventPwritev,
	EventPwritevZero,
	EventPwritevDone,
	EventEmptyImagePrepare,
	EventL1ShrinkWriteTable,
	EventL1ShrinkFreeL2Clusters,
	EventCorWrite,
	EventClusterAllocSpace,
	EventNone,
}

// KnownEvent tells if there is an event of that name.
func KnownEvent(name string) bool { return slices.Contains(events, Event(name)) }

// EventReceiver is a node that wants to know what the drivers above it do. Filters, and raw,
// pass events on to what they are over.
type EventReceiver interface {
	Receive(e Event)
}

// Raise tells n about an event, if n wants to know.
func Raise(n Node, e Event) {
	if r, ok := n.(EventReceiver); ok {
		r.Receive(e)
	}
}
