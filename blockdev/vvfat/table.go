package vvfat

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// run is a number of clusters that follow each other.
type run struct{ first, count uint32 }

// table reads the file allocation table that the guest sees, and notes who uses what.
type table struct {
	n      *Node
	window []byte // the part read last
	at     int64  // where in the table it begins
	seen   []uint64
	used   uint32 // bits set in seen
}

// tableWindow is how much of the table is read at once: a multiple of a sector and of
// three bytes, so that no FAT12 entry crosses its end.
const tableWindow = 3 * 64 * sectorSize

func newTable(n *Node) *table {
	return &table{n: n, at: -1, seen: make([]uint64, (n.layout.clusters+firstCluster+63)/64)}
}

// value is the entry of cluster c, widened so that marks look the same for all types.
func (t *table) value(c uint32) (uint32, error) {
	bits := int64(t.n.layout.fatType)
	off := int64(c) * bits / 8
	if at := off / tableWindow * tableWindow; at != t.at {
		size := min(tableWindow, int64(t.n.layout.fatSectors)*sectorSize-at)
		t.window, t.at = make([]byte, size), at
		if err := t.n.read(t.window, int64(t.n.layout.fat)*sectorSize+at); err != nil {
			return 0, err
		}
	}
	p := t.window[off-t.at:]
	var v, mask uint32
	switch bits {
	case 12:
		v, mask = uint32(binary.LittleEndian.Uint16(p)), 0xFFF
		if c%2 != 0 {
			v >>= 4
		}
	case 16:
		v, mask = uint32(binary.LittleEndian.Uint16(p)), 0xFFFF
	default:
		v, mask = binary.LittleEndian.Uint32(p), endOfChain
	}
	if v &= mask; v >= mask-0xF { // marks: the reserved values, bad, end
		v |= endOfChain &^ mask
	}
	return v, nil
}

const (
	badCluster   = 0x0FFFFFF7
	firstEndMark = 0x0FFFFFF8 // this and above
)

// chain follows the clusters of f, at most limit of them.
func (t *table) chain(f *found, limit int64) (runs []run, err error) {
	last := firstCluster + t.n.layout.clusters
	for c, length := f.first, int64(0); ; length++ {
		switch {
		case c < firstCluster || c >= last:
			return nil, &unfinished{fmt.Sprintf("'%s' has cluster %d, which there is not", f.path(), c)}
		case t.seen[c/64]>>(c%64)&1 != 0:
			return nil, &unfinished{fmt.Sprintf("'%s' has cluster %d, which another file has too", f.path(), c)}
		case length >= limit:
			return nil, &unfinished{fmt.Sprintf("'%s' has more clusters than its size says", f.path())}
		}
		t.seen[c/64] |= 1 << (c % 64)
		t.used++
		if k := len(runs) - 1; k >= 0 && runs[k].first+runs[k].count == c {
			runs[k].count++
		} else {
			runs = append(runs, run{c, 1})
		}
		next, err := t.value(c)
		switch {
		case err != nil:
			return nil, err
		case next >= firstEndMark:
			return runs, nil
		}
		c = next
	}
}

// checkLost fails if clusters are taken that no file has: something is being made, moved
// or removed.
func (t *table) checkLost() error {
	for c := uint32(firstCluster); c < firstCluster+t.n.layout.clusters; c++ {
		v, err := t.value(c)
		if err != nil {
			return err
		}
		if v != 0 && v != badCluster && t.seen[c/64]>>(c%64)&1 == 0 {
			return &unfinished{fmt.Sprintf("cluster %d is in use, but no file has it", c)}
		}
	}
	return nil
}

// checkLayout fails if the guest changed what says where everything is, or wrote one copy
// of the table and not the other yet.
func (n *Node) checkLayout() error {
	boot := make([]byte, sectorSize)
	if err := n.readSectors(boot, n.layout.start); err != nil {
		return err
	}
	end := 36 // of the parameter block (fatgen: BPB)
	if n.layout.fatType == 32 {
		end = 52
	}
	if !bytes.Equal(boot[11:end], n.boot[11:end]) {
		return &unfinished{"the boot sector was changed"}
	}
	const piece = 128
	a, b := make([]byte, piece*sectorSize), make([]byte, piece*sectorSize)
	for s := uint32(0); s < n.layout.fatSectors; s += piece {
		count := int64(min(piece, n.layout.fatSectors-s)) * sectorSize
		if err := n.readSectors(a[:count], n.layout.fat+s); err != nil {
			return err
		}
		if err := n.readSectors(b[:count], n.layout.fat+n.layout.fatSectors+s); err != nil {
			return err
		}
		if !bytes.Equal(a[:count], b[:count]) {
			return &unfinished{"the two copies of the file allocation table differ"}
		}
	}
	return nil
}
