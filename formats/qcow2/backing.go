package qcow2

import (
	"github.com/qmon/qmon/blockdev"
)

// backingNode wraps the interface for an atomic pointer.
type backingNode struct{ blockdev.Node }

// BackingReference is what the header says.
func (im *Image) BackingReference() blockdev.Reference {
	im.mu.RLock()
	defer im.mu.RUnlock()
	if im.hdr.backingName == "" {
		return blockdev.Reference{}
	}
	return blockdev.Reference{
		Kind: blockdev.RefBacking, Parent: im.name,
		Name: im.hdr.backingName, Format: im.hdr.backingFormat(),
	}
}

// Backing is the attached backing node.
func (im *Image) Backing() blockdev.Node {
	if b := im.backing.Load(); b != nil {
		return b.Node
	}
	return nil
}

// SetBacking attaches or, with nil, detaches the backing node.
func (im *Image) SetBacking(n blockdev.Node) {
	if n == nil {
		im.backing.Store(nil)
		return
	}
	im.backing.Store(&backingNode{n})
}

// hasBacking tells if unallocated clusters may have contents, attached or not.
func (im *Image) hasBacking() bool {
	return im.backing.Load() != nil || im.refersBacking.Load()
}

// ChangeBackingReference rewrites the name and the format in the header.
func (im *Image) ChangeBackingReference(name, format string) error {
	if err := im.checkWritable("write"); err != nil {
		return err
	}
	if len(name) > maxBackingName {
		return blockdev.Errorf(blockdev.ErrLimit, "write", im.name, "Backing file name too long")
	}
	return im.exclusive(func() error {
		h := *im.hdr
		h.extensions = append([]extension(nil), h.extensions...)
		h.backingName = name
		var ext []byte
		if format != "" {
			ext = []byte(format)
		}
		h.setExtension(extBackingFormat, ext)
		return im.rewriteHeader(&h)
	})
}
