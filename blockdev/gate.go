package blockdev

import "context"

// ReferenceKind says for what an image refers to another file.
type ReferenceKind uint8

const (
	// RefBacking: what is not in the image is in that file.
	RefBacking ReferenceKind = iota + 1
	// RefData: the image's guest data is in that file.
	RefData
	// RefExtent: a part of the image is in that file (VMDK).
	RefExtent
)

// Reference is a file that an image names. Name is the string found inside the image: it
// is a plain file name, relative to the directory of Parent ([ResolveReference] says more),
// and never anything else.
type Reference struct {
	Kind   ReferenceKind
	Parent string // file name of the image that refers
	Name   string // "" for no reference
	Format string // driver recorded in the image, "" if none
}

// Gate opens every file that an image refers to. It decides if and what.
type Gate interface {
	OpenReference(ctx context.Context, g *Graph, ref Reference, o OpenOptions) (*Vertex, error)
}

// DenyGate follows nothing: the library's default.
type DenyGate struct{}

// OpenReference always fails with ErrDenied.
func (DenyGate) OpenReference(_ context.Context, _ *Graph, ref Reference, _ OpenOptions) (*Vertex, error) {
	return nil, Errorf(ErrDenied, "open", ref.Parent, "reference to '%s' is not followed: no gate allows it", ref.Name)
}
