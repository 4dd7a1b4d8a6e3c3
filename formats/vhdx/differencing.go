package vhdx

import (
	"encoding/binary"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/parent"
)

// differencing is an opened image that has only what differs from its parent. It is read
// sector by sector: a chunk of blocks has a sector bitmap block, section 2.4.1, whose bits say
// which sectors of a partially present block are in this file.
type differencing struct {
	*Image
	parent.Link

	bitmapOf int64 // the block whose bits are in memory, -1 for none; guarded by Image.mu
	bitmap   []byte
}

var (
	_ blockdev.Node     = (*differencing)(nil)
	_ blockdev.Backed   = (*differencing)(nil)
	_ blockdev.Checker  = (*differencing)(nil)
	_ blockdev.Informer = (*differencing)(nil)
)

func openDifferencing(im *Image, mode blockdev.Mode) (*differencing, error) {
	if mode.Writable && !mode.AutoReadOnly && !mode.Check {
		return nil, im.readOnly("open")
	}
	im.writable.Store(false)
	d := &differencing{Image: im, bitmapOf: -1}
	d.IsParent = im.isParent
	return d, nil
}

func (im *Image) readOnly(op string) error {
	return blockdev.Errorf(blockdev.ErrReadOnly, op, im.name, "differencing VHDX images can only be read")
}

// isParent fails if n is not the image that the locator names, or was written to since: a
// writer gives it a new DataWriteGuid.
func (im *Image) isParent(n blockdev.Node) error {
	var below *Image
	switch p := n.(type) {
	case *Image:
		below = p
	case *differencing:
		below = p.Image
	}
	if below != nil {
		below.commitMu.Lock()
		id := below.headers.current.dataWrite
		below.commitMu.Unlock()
		for _, l := range im.meta.parent.linkages {
			if id == l {
				return nil
			}
		}
	}
	return blockdev.Errorf(blockdev.ErrInvalid, "read", im.name,
		"the parent is not the VHDX image with the identifier %v, or was written to since", im.meta.parent.linkages[0])
}

// BackingReference is what the parent locator says.
func (d *differencing) BackingReference() blockdev.Reference {
	if d.meta.parent.name == "" {
		return blockdev.Reference{}
	}
	return blockdev.Reference{Kind: blockdev.RefBacking, Parent: d.name, Name: d.meta.parent.name, Format: "vhdx"}
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

// ReadAt reads by Map.
func (d *differencing) ReadAt(p []byte, off int64) (int, error) { return blockdev.Read(d, p, off) }

// Map tells what is in this file, and what in the parent, section 2.5.1.1.
func (d *differencing) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", d, off, n); err != nil || n == 0 {
		return blockdev.Extent{}, err
	}
	e, err := d.extent(off, n)
	if err == nil && e.Kind == blockdev.ExtentUnallocated {
		err = d.Verify()
	}
	return e, err
}

// extent is the run of bytes of one block, or of blocks that are not present, at off.
func (d *differencing) extent(off, n int64) (blockdev.Extent, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	bs := d.meta.blockSize
	block, in := off/bs, off%bs
	entry, err := d.bat.get(block)
	if err != nil {
		return blockdev.Extent{}, err
	}
	host, present, err := d.locate(entry, block)
	if err != nil {
		return blockdev.Extent{}, err
	}
	e := blockdev.Extent{Kind: blockdev.ExtentZero, Len: min(n, bs-in)}
	switch entry & stateMask {
	case blockNotPresent:
		e.Kind = blockdev.ExtentUnallocated
		d.extend(&e, off, n)
		return e, nil
	case blockPartlyPresent:
		here, run, err := d.sectors(block, in, e.Len)
		e.Len = run
		if err != nil || !here {
			e.Kind = blockdev.ExtentUnallocated
			return e, err
		}
	}
	if present {
		e.Kind, e.Node, e.Host = blockdev.ExtentData, d.file, host+in
	}
	return e, nil
}

// extend makes a run longer by blocks that are not present either.
func (d *differencing) extend(e *blockdev.Extent, off, n int64) {
	for range mapSteps {
		if e.Len >= n {
			return
		}
		entry, err := d.bat.get((off + e.Len) / d.meta.blockSize)
		if err != nil || entry&stateMask != blockNotPresent {
			return
		}
		e.Len = min(n, e.Len+d.meta.blockSize)
	}
}

// sectors tells if the sector of a block at in is in this file, and for how many bytes, at
// most n, that goes on. Sectors begin at the lowest bit of a byte.
func (d *differencing) sectors(block, in, n int64) (here bool, run int64, err error) {
	if err := d.loadBitmap(block); err != nil {
		return false, 0, err
	}
	has := func(in int64) bool {
		sector := in / d.meta.sectorSize
		return d.bitmap[sector/8]>>(sector%8)&1 != 0
	}
	here = has(in)
	run = d.meta.sectorSize - in%d.meta.sectorSize
	for run < n && has(in+run) == here {
		run += d.meta.sectorSize
	}
	return here, min(run, n), nil
}

// loadBitmap reads the bits of a block.
func (d *differencing) loadBitmap(block int64) error {
	if d.bitmapOf == block {
		return nil
	}
	host, err := d.bitmapBlock(block / d.meta.chunkRatio())
	if err != nil {
		return err
	}
	b := make([]byte, d.meta.blockSize/d.meta.sectorSize/8)
	if _, err := d.file.ReadAt(b, host+block%d.meta.chunkRatio()*int64(len(b))); err != nil {
		return err
	}
	d.bitmap, d.bitmapOf = b, block
	return nil
}

// bitmapBlock is where the sector bitmap block of a chunk lies, section 2.5.1.2.
func (im *Image) bitmapBlock(chunk int64) (int64, error) {
	p, at, err := im.bat.bitmapEntry(chunk)
	if err != nil {
		return 0, err
	}
	e := binary.LittleEndian.Uint64(p.data[at:])
	if e&stateMask != blockPresent {
		return 0, im.corrupt("VHDX chunk %d has partially present blocks but no sector bitmap", chunk)
	}
	return im.place(e, mib, "sector bitmap of chunk", chunk)
}
