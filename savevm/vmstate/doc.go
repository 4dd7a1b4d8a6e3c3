// Package vmstate is the stream that holds a machine's state, in QEMU's migration format:
// a header, the configuration, the RAM section in parts, one full section per device with
// its footer, and a JSON description of all of it at the end. All numbers are big-endian.
//
//	QEVM 3 | configuration | ram start, part..., end | timer | cpu | devices... | EOF | vmdesc
//	                                                   |
//	      0x04 id, name, instance, version | fields | subsections | 0x7e id
//
// # Sections
//
// A section's contents are a Go struct (what vm.State.Save returns a pointer to). Its
// exported fields are written in order; each needs a tag, "-" for what is not state:
//
//	type state struct {
//		Timecmp []uint64      `vmstate:"timecmp"`                        // length fixed by State.New
//		Divider uint16        `vmstate:"divider"`
//		Enabled bool          `vmstate:"irq_enabled,uint32"`             // stored wider than in Go
//		_       struct{}      `vmstate:"unused,unused=8"`                // eight bytes of padding
//		Name    [100]byte     `vmstate:"runstate,buffer"`                // one field, not 100
//		Timers  [32]timer     `vmstate:"pmu_ctrs,struct=cpu/pmu,version=1"`
//		Latency uint64        `vmstate:"latency,since=3"`                // from version 3 on
//		Rings   rings         `vmstate:"virtio,type=virtio"`             // a Marshaler
//		PMP     *pmp          `vmstate:"cpu/pmp,subsection=1"`           // left out if nil
//	}
//
// What a tag says, after the field's name in the stream:
//
//	uint8 ... uint64, int8 ... int64, bool   stored as that type; the default is the Go type
//	buffer          an array or slice of bytes described as one field
//	unused=N        N zero bytes, skipped on load; the field is a struct{} called _
//	struct=NAME     what the description calls the nested structure; default the field's name
//	version=N       the version of the nested structure; default 1
//	subsection=N    the field is a pointer to a struct, a subsection of version N
//	since=N         left out below version N of the structure it belongs to
//	type=TEXT       the type that the description gives, for people and other tools
//
// Integers have a fixed size: int and uint are refused unless the tag gives a stored type.
// A value that does not fit where it is to go is an error in both directions, never cut
// off. Arrays and slices, also of structs and of arrays, are written one element after the
// other without a count: a slice has the length that State.New gave it.
//
// A subsection's name begins with the name of the structure it belongs to and a slash; for
// the section "virtio-mmio@10008000/virtio-blk" that is "virtio-blk". Where slices are in a
// subsection, State.New fills in the pointer with slices of the right length; after
// decoding it is nil if the stream had no such subsection.
//
// A type with a layout of its own (virtio) implements [Marshaler] and [Unmarshaler] on its
// pointer and gets an [Encoder] or [Decoder], which also write and read structs and
// subsections.
package vmstate
