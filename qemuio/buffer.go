package qemuio

import "unsafe"

const (
	// blockAlign is what buffers of O_DIRECT are aligned to at most.
	blockAlign = 4096
	// misalignment is how far behind a border misaligned buffers begin, as with qemu-io.
	misalignment = 16
)

// buffer is memory for a request of n bytes.
func (e *Exerciser) buffer(n int64) []byte {
	if !e.config.Misaligned {
		return make([]byte, n)
	}
	b := make([]byte, n+blockAlign+misalignment)
	past := int64(uintptr(unsafe.Pointer(unsafe.SliceData(b))) % blockAlign)
	first := (blockAlign-past)%blockAlign + misalignment
	return b[first : first+n : first+n]
}
