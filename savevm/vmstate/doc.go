// Package vmstate is the stream that holds a machine's state, in QEMU's migration format:
// a header, the configuration, the RAM section in parts, one full section per device with
// its footer, and a JSON description of all of it at the end.
//
//	QEVM 3 | configuration | ram start, part..., end | timer | cpu | devices... | EOF | vmdesc
//
// A section's contents are a Go struct whose exported fields are written in order,
// big-endian:
//
//	type state struct {
//		Timecmp []uint64 `vmstate:"timecmp"`          // length fixed by State.New
//		Divider uint16   `vmstate:"divider"`
//		Enabled bool     `vmstate:"irq_enabled,uint32"` // stored wider than in Go
//		PMP     pmp      `vmstate:"cpu/pmp,subsection=1"` // left out if nil pointer
//	}
//
// A type with its own layout (virtio) implements Marshaler and Unmarshaler.
package vmstate
