// Package monitor is the console of a machine: HMP commands at the (qemu) prompt, line
// editing, completion and history, over any character device; monitor/qmp speaks JSON.
//
//	serial.Chardev -> LineEditor -> Session -> Command -> vm, savevm, blockdev
//
// A Monitor has a table of commands (Commands, to which an embedder adds its own) and works
// on a *vm.Machine; an emulator with its own processor gets all of it by implementing
// vm.CPU and vm.Device. Every command is a function from parsed arguments to text.
package monitor
