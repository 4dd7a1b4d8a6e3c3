// Package riscv is a RISC-V hart: RV64GC (I M A F D C, Zicsr, Zifencei) with machine,
// supervisor and user mode, physical memory protection, Sv39 and Sv48.
//
//	            +--------------------- Hart ---------------------+
//	pc -------> | fetch TLB -> code page of decoded ops -> runOps| one big switch
//	            |                                    |           |
//	x, f, csrs  | <-------- arithmetic --------------+           |
//	            | load/store TLB -> bytes of RAM     |           |
//	            |     | miss                         | trap      |
//	            |  page walk, PMP, devices        enter handler  |
//	            +------------------------------------------------+
//
// Instructions are decoded once into ops of 16 bytes, one array per physical page of code
// ([codePage]). Stores into such pages, DMA ([vm.Region.Watch]) and FENCE.I make ops
// undecoded again. Loads and stores that hit the software TLB touch RAM directly; all else
// goes through slow paths that translate, check and may trap.
//
// # Differences from QEMU 7.2
//
// Where QEMU's hart departs from the specification, and software cannot tell the
// difference without looking for it, this hart keeps to the specification:
//
//   - an AMO's faults are store faults; QEMU's are load faults on a machine of one hart
//     and always where no RAM is;
//   - a misaligned SC traps even if it would fail for want of a reservation;
//   - of several pending interrupts the order is MEI, MSI, MTI, SEI, SSI, STI; QEMU takes
//     the lowest number first;
//   - bit 0 of mepc and sepc is 0; mstatus.MPP does not become 2; medeleg bit 11, the upper
//     bits of pmpaddr and of the counter-enable registers, and the lower case of PMP TOR
//     entries that end before they begin, which QEMU takes amiss, are as specified;
//   - S mode never fetches from a page of U mode; QEMU does after a load with SUM;
//   - a PMP entry in the middle of a misaligned access counts: QEMU looks at the ends;
//   - a misaligned access to a device traps; QEMU splits it into aligned ones, and gives
//     their addresses in mtval where nothing answers.
//
// Not there are the extensions that QEMU has on by default: H, Sstc, Sv57, Zba to Zbs,
// event counters and debug triggers. With QEMU this hart writes the instruction to mtval
// if it is illegal, 0 for a breakpoint, sets A and D bits itself, drops writes of reserved
// trap vector modes, drops a reservation at every trap and return, lets stores to ROM pass
// without effect, and keeps WFI from U mode.
//
// The specifications meant by section numbers are the unprivileged one of 20191213 and the
// privileged one, version 1.12 (20211203).
package riscv
