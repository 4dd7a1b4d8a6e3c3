// Package vm is a machine: run state, clock, memory map, interrupt lines, processors,
// devices, drives, and the registry of what has to be saved.
//
//	    Machine ---- Clock        one goroutine (Run) owns everything below
//	   /   |    \
//	CPU  Memory  Devices ---- Drives (blockdev)
//	       |
//	RAM, ROM, MMIO regions
//
// # Goroutines
//
// All processors and devices of a machine run on the one goroutine that calls
// [Machine.Run]; nothing in them needs a lock. Other goroutines (a console, a disk
// request that has finished) hand work to it with [Machine.Do] and [Machine.Post], which
// happen between two instructions, also while the machine is stopped. What a guest orders
// in the middle of an instruction and concerns the whole machine, such as a reset, a
// device posts in the same way ([Machine.RequestReset]).
//
//	Run:  requests -> timers -> a slice of instructions on each processor -> ...
//	      stopped: requests only      all processors wait: sleep until the next timer
//
// A device may have work done beside the processors, if it is a [Drainer]: stopping,
// resetting and saving the machine wait for that work.
//
// # Time
//
// A [Clock] follows the host, or counts instructions. On one that is Reproducible two runs
// with the same input are the same to the last instruction: idle time is jumped over, and
// devices do all work at once.
//
// # State
//
// What a processor or device has to keep is a [State]: a struct with named fields that
// package savevm/vmstate writes and reads.
//
// An emulator with a processor of its own implements [CPU] and [Device] and has the
// console (package monitor), the disks and the snapshots (package savevm) for it. The
// board that ships is vm/virt with the processor vm/riscv.
package vm
