// Package vm is a machine: run state, clock, memory map, interrupt lines, processors,
// devices, drives, and the registry of what has to be saved.
//
//	    Machine ---- Clock        one goroutine (Run) owns everything below
//	   /   |    \
//	CPU  Memory  Devices ---- Drives (blockdev)
//	       |
//	RAM, ROM, MMIO regions
//
// All processors and devices of a machine run on the one goroutine that calls
// [Machine.Run]; nothing in them needs a lock. Other goroutines (a console, a disk
// request that has finished) hand work to it with [Machine.Do] and [Machine.Post], which
// happen between two instructions.
//
// An emulator with a processor of its own implements [CPU] and [Device] and has the
// console (package monitor), the disks and the snapshots (package savevm) for it. The
// board that ships is vm/virt with the processor vm/riscv.
package vm
