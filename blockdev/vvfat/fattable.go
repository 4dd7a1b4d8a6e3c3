package vvfat

import "encoding/binary"

// endOfChain marks the last cluster of a file; it is cut to the table's width.
const endOfChain = 0x0FFFFFFF

// entries makes up values of the file allocation table, one after the other.
type entries struct {
	t    *tree
	end  uint32 // of the run that the last cluster asked for was in
	from uint32
}

// value is the table's entry for cluster c: the cluster that follows it.
func (e *entries) value(c uint32) uint32 {
	switch {
	case c == 0:
		return endOfChain&^0xFF | uint32(e.t.layout.media)
	case c == 1:
		return endOfChain
	case c >= firstCluster+e.t.used:
		return 0
	}
	if c < e.from || c >= e.end {
		i := e.t.at(c)
		e.from, e.end = e.t.nodes[i].first, e.t.end(i)
	}
	if c+1 == e.end {
		return endOfChain
	}
	return c + 1
}

// tableBytes fills p, whole sectors, with the table from byte off on.
func (t *tree) tableBytes(p []byte, off int64) {
	e := &entries{t: t}
	switch t.layout.fatType {
	case 12:
		e.packed(p, off)
	case 16:
		for i := 0; i < len(p); i += 2 {
			binary.LittleEndian.PutUint16(p[i:], uint16(e.value(uint32((off+int64(i))/2))))
		}
	default:
		for i := 0; i < len(p); i += 4 {
			binary.LittleEndian.PutUint32(p[i:], e.value(uint32((off+int64(i))/4)))
		}
	}
}

// packed writes FAT12's entries, two in three bytes; those at the ends may be cut.
func (e *entries) packed(p []byte, off int64) {
	clear(p)
	put := func(at int64, b byte) {
		if at >= off && at < off+int64(len(p)) {
			p[at-off] |= b
		}
	}
	for c := uint32(off * 2 / 3); int64(c)*3/2 < off+int64(len(p)); c++ {
		v, at := e.value(c)&0xFFF, int64(c)*3/2
		if c%2 == 0 {
			put(at, byte(v))
			put(at+1, byte(v>>8))
		} else {
			put(at, byte(v<<4))
			put(at+1, byte(v>>4))
		}
	}
}
