package vm

// Section names one part of a machine's saved state in the stream.
type Section struct {
	Name     string
	Instance uint32
	// Version is written; anything from MinVersion to Version can be loaded.
	Version    uint32
	MinVersion uint32
}

// State is one section of the machine's saved state. Its contents are a struct whose
// fields carry the name they have in the stream, `vmstate:"timecmp"`; what a tag can say
// is described in package savevm/vmstate, which encodes, decodes and describes them.
type State interface {
	Section() Section
	// Save returns a pointer to a struct that holds a copy of the present state.
	Save() (any, error)
	// New returns a pointer to a struct of the same shape (slices have their length) for
	// a stream to be decoded into.
	New() any
	// Check tells if a decoded struct of the given version would be accepted by Load. It
	// changes nothing: loadvm checks every section before it touches the machine.
	Check(state any, version uint32) error
	// Load takes over a struct that Check accepted. The machine has been reset before.
	Load(state any, version uint32) error
}
