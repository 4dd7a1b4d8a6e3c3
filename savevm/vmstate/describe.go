package vmstate

import (
	"path"

	"github.com/qmon/qmon/blockdev"
)

// Description is the JSON text at the end of a stream.
type Description struct {
	PageSize int64                `json:"page_size"`
	Devices  []SectionDescription `json:"devices"`
	// Media are what was in the drives whose medium can be changed. QEMU, which has no place
	// for them, does not look at the description.
	Media []blockdev.Medium `json:"media,omitempty"`
}

// SectionDescription tells what a section consists of.
type SectionDescription struct {
	ID       string `json:"name"` // of the section
	Instance uint32 `json:"instance_id"`
	StructDescription
}

// StructDescription tells what a structure or subsection consists of, in order.
type StructDescription struct {
	Name        string              `json:"vmsd_name"`
	Version     uint32              `json:"version"`
	Fields      []FieldDescription  `json:"fields"`
	Subsections []StructDescription `json:"subsections,omitempty"`
}

// FieldDescription is one field: ArrayLen (0 for one) elements of Size bytes.
type FieldDescription struct {
	Name     string             `json:"name"`
	Index    *int               `json:"index,omitempty"` // of an element that is listed by itself
	ArrayLen int                `json:"array_len,omitempty"`
	Type     string             `json:"type"`
	Struct   *StructDescription `json:"struct,omitempty"`
	Size     int64              `json:"size"`
}

// length is how many bytes of the stream the field takes.
func (f FieldDescription) length() int64 {
	return f.Size * int64(max(f.ArrayLen, 1))
}

// length is how many bytes of the stream the structure takes with its subsections.
func (s StructDescription) length() int64 {
	var n int64
	for _, f := range s.Fields {
		n += f.length()
	}
	for _, sub := range s.Subsections {
		n += int64(1+1+len(sub.Name)+4) + sub.length()
	}
	return n
}

// Describe tells how state, a pointer to a struct, is laid out in the stream as the
// contents of a structure of that name and version.
func Describe(name string, version uint32, state any) (StructDescription, error) {
	v, err := target(state)
	if err != nil {
		return StructDescription{}, err
	}
	return structure{name, version}.description(v)
}

// structureName is the name of a section's structure: "virtio-blk" for the section
// "virtio-mmio@0000000010008000/virtio-blk".
func structureName(section string) string { return path.Base(section) }
