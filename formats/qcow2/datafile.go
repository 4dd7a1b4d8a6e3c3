package qcow2

import (
	"context"

	"github.com/qmon/qmon/blockdev"
)

// External data files, section "Header", incompatible feature bit 2: guest clusters lie in
// another file, each at its guest offset. They have no refcounts, and so there are neither
// snapshots nor compressed clusters.

// dataChild is the name that options have for the external data file.
const dataChild = "data-file"

// openData finds out where guest clusters lie, and opens the external data file if there
// is one. The caller's has precedence over the one that the image names.
func (im *Image) openData(ctx context.Context, r blockdev.OpenRequest) error {
	var given blockdev.Node
	if r.OpenChild != nil && !r.Mode.NoIO {
		var err error
		if given, err = r.OpenChild(ctx, dataChild); err != nil {
			return err
		}
	}
	im.external = im.hdr.incompatible&incompatDataFile != 0
	im.dataRaw.Store(im.hdr.autoclear&autoclearRawData != 0)
	switch name := im.hdr.dataFile(); {
	case !im.external && given != nil:
		return blockdev.Errorf(blockdev.ErrInvalid, "open", im.name, "'data-file' can only be set for images with an external data file")
	case !im.external, r.Mode.NoIO:
		return nil
	case given != nil:
		im.data = given
		return nil
	case name == "":
		return blockdev.Errorf(blockdev.ErrInvalid, "open", im.name, "'data-file' is required for this image")
	case r.OpenReference == nil:
		return blockdev.Errorf(blockdev.ErrDenied, "open", im.name, "reference to '%s' is not followed: no gate allows it", name)
	default:
		var err error
		im.data, err = r.OpenReference(ctx, im.dataReference())
		return err
	}
}

// dataReference is what the header says of the external data file.
func (im *Image) dataReference() blockdev.Reference {
	return blockdev.Reference{Kind: blockdev.RefData, Parent: im.name, Name: im.hdr.dataFile(), Format: "file"}
}

// checkInternal refuses what an image with an external data file cannot do.
func (im *Image) checkInternal(op string) error {
	if im.external {
		return blockdev.Errorf(blockdev.ErrNotSupported, op, im.name, "Operation not supported")
	}
	return nil
}

// flushData makes completed writes of guest data durable, before tables say where they are.
func (im *Image) flushData() error {
	if !im.external {
		return nil
	}
	return im.data.Flush()
}

// fitDataFile makes the external data file as long as the disk: exactly if it is raw, else
// at least.
func (im *Image) fitDataFile(size int64) error {
	if !im.external || im.data.Size() == size || im.data.Size() > size && !im.raw() {
		return nil
	}
	im.dataEnd.Store(0)
	return blockdev.Resize(im.data, size, blockdev.ResizeOptions{Shrink: true})
}
