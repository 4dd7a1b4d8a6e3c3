// Package monitor is the console of a machine: HMP commands at the (qemu) prompt, line
// editing, completion and history, over any character device.
//
//	serial.Chardev -> LineEditor -> Session -> Command -> vm, savevm, blockdev
//	                                   |          |
//	                  Monitor.Execute -+          +-- scanner: HMP's argument language
//
// A [Monitor] has a table of commands and works on a *vm.Machine. An emulator with its own
// processor gets all of it by implementing vm.CPU and vm.Device, and adds commands of its
// own with [Monitor.AddCommand]: a command is a description of its arguments and a function
// from parsed arguments to text.
//
// Each console is a [Session] with a goroutine of its own; commands of all sessions run one
// at a time. A command that fails says so and the session goes on, typed or piped alike.
// Whether any failed is told by [Session.Failures], [Monitor.Failures], and, for a script
// that is to decide the program's exit status, [SessionOptions.ExitStatus].
package monitor
