package vhdx

import (
	"encoding/binary"
	"math"

	"github.com/qmon/qmon/blockdev"
)

// Section 2.2.3: the region table.
const (
	region1Offset   = 192 * kib
	region2Offset   = 256 * kib
	regionTableSize = 64 * kib
	regionSignature = "regi"
	offRegionCount  = 8
	offRegionFirst  = 16
	regionEntrySize = 32
	maxEntries      = 2047 // of region and metadata tables: what the specification allows
)

// maxFileSize bounds places in the file: four times what the largest disk needs. Beyond
// it an offset is nonsense that would make sums overflow.
const maxFileSize = 4 * maxDiskSize

// span is a part of the file.
type span struct{ off, len int64 }

func (s span) end() int64 { return s.off + s.len }

func (s span) overlaps(o span) bool { return s.off < o.end() && o.off < s.end() }

// regions are the places of the two regions that every image has.
type regions struct{ bat, metadata span }

// readRegions reads the region table, or its copy if it is damaged. The log may lie
// anywhere, but not in a region.
func readRegions(file blockdev.Node, name string, log span) (*regions, error) {
	b := make([]byte, regionTableSize)
	for _, off := range []int64{region1Offset, region2Offset} {
		if off+regionTableSize > file.Size() {
			break
		}
		if _, err := file.ReadAt(b, off); err != nil {
			return nil, err
		}
		if sealed(b, regionSignature) {
			return parseRegions(b, off, file.Size(), name, log)
		}
	}
	return nil, blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, region1Offset, "VHDX region table is damaged")
}

func parseRegions(b []byte, at, fileSize int64, name string, log span) (*regions, error) {
	corrupt := func(format string, args ...any) error {
		return blockdev.ErrorAt(blockdev.ErrCorrupt, "open", name, at, format, args...)
	}
	n := int(min(binary.LittleEndian.Uint32(b[offRegionCount:]), math.MaxInt32))
	if n > maxEntries {
		return nil, corrupt("VHDX region table has %d entries", n)
	}
	r := &regions{}
	used := []span{{0, headerSection}, log}
	for i := range n {
		e := b[offRegionFirst+i*regionEntrySize:]
		off := binary.LittleEndian.Uint64(e[16:])
		s := span{int64(off), int64(binary.LittleEndian.Uint32(e[24:]))}
		if off > maxFileSize || s.off%mib != 0 || s.len%mib != 0 || s.len == 0 || s.end() > fileSize {
			return nil, corrupt("VHDX region %d of %d bytes at %#x is invalid", i, s.len, off)
		}
		for _, u := range used {
			if s.overlaps(u) {
				return nil, corrupt("VHDX region %d at %#x overlaps with another", i, off)
			}
		}
		used = append(used, s)
		if err := r.assign(guid(e), s, e[28]&1 != 0, corrupt); err != nil {
			return nil, err
		}
	}
	if r.bat.len == 0 || r.metadata.len == 0 {
		return nil, corrupt("VHDX region table lacks the BAT or the metadata")
	}
	return r, nil
}

// assign takes an entry over. A region that is required and unknown makes the whole image
// unreadable, section 2.2.3.2.
func (r *regions) assign(id guid, s span, required bool, corrupt func(string, ...any) error) error {
	var to *span
	switch id {
	case regionBAT:
		to = &r.bat
	case regionMetadata:
		to = &r.metadata
	default:
		if required {
			return blockdev.Errorf(blockdev.ErrNotSupported, "open", "", "VHDX image needs an unknown region")
		}
		return nil
	}
	if to.len != 0 {
		return corrupt("VHDX region table has a region twice")
	}
	*to = s
	return nil
}

// encodeRegions makes a region table.
func encodeRegions(r regions) []byte {
	b := make([]byte, regionTableSize)
	copy(b, regionSignature)
	for i, e := range []struct {
		id guid
		at span
	}{{regionBAT, r.bat}, {regionMetadata, r.metadata}} {
		p := b[offRegionFirst+i*regionEntrySize:]
		copy(p, e.id[:])
		binary.LittleEndian.PutUint64(p[16:], uint64(e.at.off))
		binary.LittleEndian.PutUint32(p[24:], uint32(e.at.len))
		p[28] = 1 // required
		b[offRegionCount]++
	}
	seal(b)
	return b
}
