package vdi

import (
	"context"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
)

// differencing is an opened image that has only what differs from the one below it: what
// VirtualBox makes when it takes a snapshot.
type differencing struct {
	bat.Overlay
	image *Image
}

var (
	_ blockdev.Node     = (*differencing)(nil)
	_ blockdev.Backed   = (*differencing)(nil)
	_ blockdev.Checker  = (*differencing)(nil)
	_ blockdev.Informer = (*differencing)(nil)
)

func openDifferencing(im *Image, c bat.Config) (blockdev.Node, error) {
	d := &differencing{image: im}
	if c.Mode.Writable && !c.Mode.AutoReadOnly {
		return nil, d.readOnly("open")
	}
	c.Mode.Writable = false
	im.Image = bat.New(c)
	d.Overlay = bat.Overlay{Image: im.Image}
	d.RefersBacking(true)
	return d, nil
}

func (d *differencing) readOnly(op string) error {
	return blockdev.Errorf(blockdev.ErrReadOnly, op, d.image.name, "differencing VDI images can only be read")
}

// BackingReference names the file of the image below. The header has no name, only an
// identifier, and VirtualBox keeps the name in its registry: but a snapshot's file it names
// after the identifier. Where that is not so, the user says which file it is.
func (d *differencing) BackingReference() blockdev.Reference {
	return blockdev.Reference{Kind: blockdev.RefBacking, Parent: d.image.name, Name: d.image.header.link.String() + ".vdi", Format: "vdi"}
}

// ChangeBackingReference is not possible: the image cannot be written.
func (d *differencing) ChangeBackingReference(string, string) error { return d.readOnly("write") }

// ReopenWritable fails for the same reason.
func (d *differencing) ReopenWritable(writable bool) error {
	if !writable {
		return nil
	}
	return d.readOnly("reopen")
}

// Info is the image's.
func (d *differencing) Info() (blockdev.ImageInfo, error) { return d.image.Info() }

// Check is the image's.
func (d *differencing) Check(ctx context.Context, o blockdev.CheckOptions) (blockdev.CheckResult, error) {
	return d.image.Check(ctx, o)
}

// isParent fails if n is not the image below, or was written to since.
func (im *Image) isParent(n blockdev.Node) error {
	var below *Image
	switch p := n.(type) {
	case *Image:
		below = p
	case *differencing:
		below = p.image
	}
	h := im.header
	switch {
	case below == nil || below.header.id != h.link:
		return blockdev.Errorf(blockdev.ErrInvalid, "read", im.name, "the image below is not %v", h.link)
	case h.linkState != uuid{} && below.lastChange() != h.linkState:
		return blockdev.Errorf(blockdev.ErrInvalid, "read", im.name, "the image below, %v, was written to since", h.link)
	}
	return nil
}
