// Package virt is the RISC-V board "virt": QEMU's machine of that name, so that firmware
// and kernels made for it run unchanged.
//
//	0x1000       boot ROM       reset vector, fw_dynamic info
//	0x100000     finisher       power off, reset
//	0x101000     goldfish RTC                       source 11
//	0x2000000    ACLINT         MSWI, MTIMER
//	0xc000000    PLIC           95 sources, contexts M and S
//	0x10000000   UART 16550A                        source 10
//	0x10001000.. virtio-mmio    eight slots         sources 1 to 8
//	0x80000000   RAM
//
// [New] makes the board with one hart of package vm/riscv; [Board.Machine] is what the
// console and the snapshots work on. Flash, PCI, fw_cfg and the platform bus are left out,
// and so are their nodes in the device tree: the firmware and kernels in question do
// without them.
//
// The sections of the saved state are those of QEMU 7.2's board, field for field, as far
// as the devices are the same. What QEMU has no field for is in a subsection that is left
// out while it says nothing: an mtime that the guest has set.
package virt
