// Package virtio connects paravirtual devices to a machine: the virtio-mmio transport,
// legacy and modern, virtqueues, and the block device.
//
//	guest driver                                     (specification: virtio 1.2)
//	    |   registers: features, status, queues      Slot       4.2
//	    |   rings in RAM: descriptors, avail, used   Queue      2.6, 2.7
//	    |   requests                                 Block      5.2
//	    v
//	blockdev.Drive, from goroutines beside the processors
//
// A [Slot] is the register file; it holds one [Function], or none. A Function offers
// feature bits and a config space, and is told when the guest has put buffers into one of
// its queues. [Block] is the function that a disk is.
//
// What the guest writes is not trusted: rings and buffers must lie in RAM, chains must
// end, indices must make sense. A guest that breaks a rule finds its device stopped, and
// DEVICE_NEEDS_RESET in the status of a modern one; a reset makes it usable again.
package virtio
