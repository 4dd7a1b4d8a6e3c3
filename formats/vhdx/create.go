package vhdx

import (
	"context"
	"encoding/binary"
	"unicode/utf16"

	"github.com/qmon/qmon/blockdev"
)

// createSectorSize is what new disks have, of both kinds.
const createSectorSize = 512

// creator is who made an image, section 2.2.1.
const creator = "qmon"

// Create makes an image in r.File, which is empty. The identifier is written last: before
// that the file is no image.
func Create(_ context.Context, r blockdev.CreateRequest) error {
	if r.Backing.Name != "" {
		return blockdev.Errorf(blockdev.ErrNotSupported, "create", r.Filename, "Backing file not supported for file format 'vhdx'")
	}
	o := createOptions{StateZero: true}
	if err := r.Options.Decode(&o); err != nil {
		return err
	}
	if err := o.normalize(r); err != nil {
		return err
	}
	l := newLayout(o, r.Size)
	if err := grow(r.File, l.end); err != nil {
		return err
	}
	if err := l.writeTables(r.File); err != nil {
		return err
	}
	if err := l.writeBAT(r.File); err != nil {
		return err
	}
	_, err := r.File.WriteAt(encodeIdentifier(), 0)
	return err
}

// layout is a new image.
type layout struct {
	meta      metadata
	log       span
	regions   regions
	payload   int64 // where blocks begin
	end       int64 // of the file
	fixed     bool
	zeroState bool
}

// newLayout puts the regions one behind the other, as QEMU does.
func newLayout(o createOptions, size int64) *layout {
	l := &layout{fixed: o.Subformat == subformatFixed, zeroState: o.StateZero}
	l.meta = metadata{
		blockSize: o.BlockSize, leaveAllocated: l.fixed,
		diskSize:   (size + createSectorSize - 1) / createSectorSize * createSectorSize,
		sectorSize: createSectorSize, physicalSize: createSectorSize, diskID: newGUID(),
	}
	roundUp := func(n int64) int64 { return max(mib, (n+mib-1)/mib*mib) }
	l.log = span{headerSection, o.LogSize}
	l.regions.bat = span{l.log.end(), roundUp(l.meta.batEntries() * batEntrySize)}
	l.regions.metadata = span{l.regions.bat.end(), mib}
	l.payload = l.regions.metadata.end()
	l.end = l.payload
	if l.fixed {
		// The last block is whole, as section 2.4 wants; QEMU's ends with the disk.
		l.end += l.meta.blocks() * l.meta.blockSize
	}
	return l
}

// writeTables writes all but the table of blocks and the identifier.
func (l *layout) writeTables(file blockdev.Node) error {
	h := header{
		sequence: 1, fileWrite: newGUID(), dataWrite: newGUID(), version: headerVersion,
		logLength: l.log.len, logOffset: l.log.off,
	}
	first := h.encode()
	h.sequence++
	table := encodeRegions(l.regions)
	for _, part := range []struct {
		off  int64
		data []byte
	}{
		{header1Offset, first},
		{header2Offset, h.encode()},
		{region1Offset, table},
		{region2Offset, table},
		{l.regions.metadata.off, l.meta.encode()},
	} {
		if _, err := file.WriteAt(part.data, part.off); err != nil {
			return err
		}
	}
	return nil
}

// writeBAT writes the table of blocks, which need not be written where it is all zeroes.
func (l *layout) writeBAT(file blockdev.Node) error {
	if !l.fixed && !l.zeroState {
		return nil
	}
	t, err := newBAT(file, "", l.regions.bat, &l.meta)
	if err != nil {
		return err
	}
	buf := make([]byte, 0, min(t.at.len, mib))
	off := t.at.off
	for i := range l.meta.batEntries() {
		block, isBitmap := i-i/(t.chunkRatio+1), i%(t.chunkRatio+1) == t.chunkRatio
		var e uint64
		switch {
		case isBitmap:
		case l.fixed:
			e = uint64(l.payload+block*l.meta.blockSize) | blockPresent
		default:
			e = blockZero
		}
		buf = binary.LittleEndian.AppendUint64(buf, e)
		if len(buf) == cap(buf) {
			if _, err := file.WriteAt(buf, off); err != nil {
				return err
			}
			off, buf = off+int64(len(buf)), buf[:0]
		}
	}
	_, err = file.WriteAt(buf, off)
	return err
}

func encodeIdentifier() []byte {
	b := append(make([]byte, 0, logSector), fileSignature...)
	for _, c := range utf16.Encode([]rune(creator)) {
		b = binary.LittleEndian.AppendUint16(b, c)
	}
	return b[:logSector]
}
