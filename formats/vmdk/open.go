package vmdk

import (
	"context"
	"encoding/binary"
	"path/filepath"

	"github.com/qmon/qmon/blockdev"
)

// createTypes are the kinds of images whose descriptor may be a file of its own.
var createTypes = []string{
	monolithicFlat, splitSparse, splitFlat, "vmfs", "vmfsSparse", "seSparse", "monolithicSparse",
}

// load finds the descriptor and the extents.
func (im *Image) load(ctx context.Context, r blockdev.OpenRequest) error {
	head := make([]byte, min(8, r.File.Size()))
	if _, err := r.File.ReadAt(head, 0); err != nil {
		return err
	}
	switch {
	case len(head) >= 4 && string(head[:4]) == sparseMagic:
		return im.loadSparse(ctx, r)
	case len(head) >= 4 && string(head[:4]) == cowdMagic:
		g, err := readCowd(r.File, im.name)
		if err != nil {
			return err
		}
		im.desc = &descriptor{createType: "vmfsSparse", parentCID: noParent}
		return im.addSparse(&extent{kind: kindVMFSCowd, file: r.File, name: im.name, geo: g})
	}
	return im.loadText(ctx, r)
}

// loadText is for a descriptor that is a file of its own.
func (im *Image) loadText(ctx context.Context, r blockdev.OpenRequest) error {
	size := r.File.Size()
	invalid := blockdev.Errorf(blockdev.ErrFormat, "open", im.name, "invalid VMDK image descriptor")
	switch {
	case size == 0:
		return blockdev.Errorf(blockdev.ErrFormat, "open", im.name, "File is too small, not a valid image")
	case size > maxDescriptor:
		return invalid
	}
	b := make([]byte, size)
	if _, err := r.File.ReadAt(b, 0); err != nil {
		return err
	}
	if !isDescriptor(b) {
		return invalid
	}
	var err error
	if im.desc, err = parseDescriptor(b, im.name); err != nil {
		return err
	}
	if im.desc.createType == "" {
		return invalid
	}
	im.descMax = maxDescriptor
	return im.openExtents(ctx, r)
}

// loadSparse is for an image of one extent that has the descriptor inside.
func (im *Image) loadSparse(ctx context.Context, r blockdev.OpenRequest) error {
	g, err := readSparse(r.File, im.name)
	if err != nil {
		return err
	}
	if g.descriptor == 0 || g.descSize == 0 {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, "VMDK extent has no descriptor")
	}
	if g.descSize > maxDescriptor {
		return blockdev.Errorf(blockdev.ErrLimit, "open", im.name, "VMDK descriptor of %d bytes is too long", g.descSize)
	}
	b := make([]byte, g.descSize)
	if err := readFull(r.File, b, g.descriptor); err != nil {
		return err
	}
	if im.desc, err = parseDescriptor(b, im.name); err != nil {
		return err
	}
	im.descAt, im.descMax = g.descriptor, g.descSize
	if g.capacity == 0 {
		return im.openExtents(ctx, r)
	}
	return im.addSparse(&extent{kind: kindSparse, file: r.File, name: im.name, geo: g})
}

func (im *Image) addSparse(e *extent) error {
	e.size = e.geo.capacity
	im.extents = append(im.extents, e)
	return e.loadDirectory()
}

// openExtents opens what the descriptor names.
func (im *Image) openExtents(ctx context.Context, r blockdev.OpenRequest) error {
	if !contains(createTypes, im.desc.createType) {
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", im.name, "Unsupported image type '%s'", im.desc.createType)
	}
	for _, line := range im.desc.extents {
		if line.access == "NOACCESS" {
			return blockdev.Errorf(blockdev.ErrNotSupported, "open", im.name, "VMDK extent '%s' allows no access", line.file)
		}
		e := &extent{kind: line.kind, shown: line.kind, size: line.sectors * sectorSize, flatAt: line.offset * sectorSize}
		if line.access != "RW" {
			e.readOnly = "VMDK extent is read-only"
		}
		if line.kind == kindZero {
			e.readOnly = "VMDK extent of zeroes cannot be written"
			im.extents = append(im.extents, e)
			continue
		}
		if err := im.openExtent(ctx, r, e, line); err != nil {
			return err
		}
	}
	if len(im.extents) == 0 {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, "VMDK descriptor names no extents")
	}
	return nil
}

// openExtent opens one file, through the gate, as bytes: it is never probed.
func (im *Image) openExtent(ctx context.Context, r blockdev.OpenRequest, e *extent, line extentLine) error {
	switch line.kind {
	case kindFlat, kindVMFS, kindSparse, kindVMFSCowd, kindSE:
	default:
		return blockdev.Errorf(blockdev.ErrNotSupported, "open", im.name, "Unsupported extent type '%s'", line.kind)
	}
	ref := blockdev.Reference{Kind: blockdev.RefExtent, Parent: im.name, Name: line.file, Format: "file"}
	var err error
	if r.BaseName != nil && !filepath.IsAbs(line.file) {
		if ref.Parent, err = r.BaseName(); err != nil {
			return &blockdev.Error{Kind: blockdev.ErrNotSupported, Op: "open", File: im.name, Offset: blockdev.NoOffset, Err: err,
				Text: "Cannot use relative paths with VMDK descriptor file '" + im.name + "'"}
		}
	}
	if e.name, err = blockdev.ResolveReference(ref); err != nil {
		return err
	}
	if r.OpenReference == nil {
		return blockdev.Errorf(blockdev.ErrDenied, "open", im.name, "reference to '%s' is not followed: no gate allows it", line.file)
	}
	if e.file, err = r.OpenReference(ctx, ref); err != nil {
		return err
	}
	if line.kind == kindFlat || line.kind == kindVMFS {
		e.shown = kindFlat
		im.extents = append(im.extents, e)
		return nil
	}
	if e.geo, err = readExtentHeader(e.file, e.name, line.kind); err != nil {
		return err
	}
	return im.addSparse(e)
}

// readExtentHeader reads the header that the kind of extent has.
func readExtentHeader(file blockdev.Node, name, kind string) (*geometry, error) {
	b := make([]byte, 8)
	if err := readFull(file, b, 0); err != nil {
		return nil, err
	}
	invalid := blockdev.Errorf(blockdev.ErrCorrupt, "open", name, "VMDK extent is not of the kind %s", kind)
	switch {
	case kind == kindSE && binary.LittleEndian.Uint64(b) == seMagic:
		return readSE(file, name)
	case kind == kindSE:
		return nil, invalid
	case string(b[:4]) == cowdMagic:
		return readCowd(file, name)
	case string(b[:4]) == sparseMagic && kind == kindSparse:
		g, err := readSparse(file, name)
		if err == nil && g.capacity == 0 {
			return nil, invalid
		}
		return g, err
	}
	return nil, invalid
}
