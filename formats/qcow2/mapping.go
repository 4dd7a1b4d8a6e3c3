package qcow2

import (
	"fmt"

	"github.com/qmon/qmon/blockdev"
)

// mapping says how a run of guest bytes is stored.
type mapping struct {
	kind  clusterKind
	len   int64   // bytes from the offset asked for
	host  int64   // where the first of them is, in the data node, if there is plain storage
	owned bool    // the clusters, and the L2 table, are used by nobody else: write in place
	entry l2Entry // of the first cluster
}

// lookup finds how the guest bytes at off are stored, at most n, according to an L1 table.
// The result is cut at the end of an L2 table. mu is held, shared at least.
func (im *Image) lookup(l1 []uint64, off, n int64) (mapping, error) {
	span := im.l2Span()
	i1 := off / span
	if i1 >= int64(len(l1)) || l1[i1]&entryOffset == 0 {
		end := (i1 + 1) * span
		for i := i1 + 1; end < off+n && (i >= int64(len(l1)) || l1[i]&entryOffset == 0); i++ {
			end += span
		}
		return mapping{kind: clusterUnallocated, len: min(n, end-off)}, nil
	}
	t, err := im.l2Table(l1[i1], i1)
	if err != nil {
		return mapping{}, err
	}
	first := off >> im.clusterBits & (1<<im.l2Bits - 1)
	in := off & (im.clusterSize - 1)
	e := im.entry(t, first)
	sub := int(in >> im.subBits)
	m := mapping{kind: im.kind(e, sub), entry: e}
	switch {
	case !im.v3() && !e.compressed() && e.desc&entryZero != 0:
		return mapping{}, im.badEntry("map", t.off+first<<im.entryShift,
			"Zero cluster entry found in pre-v3 image (L2 offset: %s, L2 index: %s)", cHex(t.off), cHex(first))
	case m.kind == clusterInvalid:
		return mapping{}, im.invalidEntry(t, first)
	case m.kind == clusterCompressed:
		m.len = min(im.clusterSize-in, n)
		return m, nil
	case m.kind.stored():
		if err := im.checkDataOffset(e, t.off, first, off); err != nil {
			return mapping{}, err
		}
		m.host = int64(e.desc&entryOffset) + in
		m.owned = e.desc&l1[i1]&entryCopied != 0
	}
	m.len = min(im.runLength(t, first, in, n), n)
	return m, nil
}

// runLength is how many bytes, from byte in of cluster i on, are stored as the first one
// is and, if they are stored, follow one another: n, or the length up to where that ends.
func (im *Image) runLength(t *table, i, in, n int64) int64 {
	e := im.entry(t, i)
	sub := int(in >> im.subBits)
	kind := im.kind(e, sub)
	length := -in & (im.subSize() - 1)
	if length == 0 {
		length = im.subSize()
	}
	for {
		same := im.sameKind(e, sub, kind)
		length += int64(same-1) << im.subBits
		if i++; sub+same < im.subclusters || length >= n || i == 1<<im.l2Bits {
			return length
		}
		next := im.entry(t, i)
		if kind.stored() && next.desc != e.desc+uint64(im.clusterSize) || im.kind(next, 0) != kind {
			return length
		}
		e, sub = next, 0
		length += im.subSize()
	}
}

// invalidEntry is the error for an entry with subclusters that are allocated and read as
// zeroes, or are allocated without storage.
func (im *Image) invalidEntry(t *table, i int64) error {
	return im.badEntry("map", t.off+i<<im.entryShift, "Invalid cluster entry found (L2 offset: %s, L2 index: %s)", cHex(t.off), cHex(i))
}

// cHex is a number as C's %#x prints it: zero has no prefix.
func cHex(n int64) string {
	if n == 0 {
		return "0"
	}
	return fmt.Sprintf("%#x", uint64(n))
}

// l2Table returns the L2 table that an L1 entry points to.
func (im *Image) l2Table(l1Entry uint64, index int64) (*table, error) {
	off := int64(l1Entry & entryOffset)
	if off&(im.clusterSize-1) != 0 {
		return nil, im.badEntry("map", im.l1.off+8*index, "L2 table offset %s unaligned (L1 index: %s)", cHex(off), cHex(index))
	}
	return im.l2Cache.get(off)
}

// checkDataOffset checks the storage of the guest cluster at guest, entry index of the L2
// table at l2.
func (im *Image) checkDataOffset(e l2Entry, l2, index, guest int64) error {
	host := int64(e.desc & entryOffset)
	if !im.aligned(e) {
		return im.unaligned(e, l2, index)
	}
	if start := guest &^ (im.clusterSize - 1); im.external && host != start {
		return im.badEntry("map", l2+index<<im.entryShift,
			"External data file host cluster offset %s does not match guest cluster offset: %s, L2 index: %s)", cHex(host), cHex(start), cHex(index))
	}
	return nil
}

// unaligned is the error for an entry, of the L2 table at l2, whose storage does not begin with
// a cluster.
func (im *Image) unaligned(e l2Entry, l2, index int64) error {
	return im.badEntry("map", l2+index<<im.entryShift, "Cluster allocation offset %s unaligned (L2 offset: %s, L2 index: %s)",
		cHex(int64(e.desc&entryOffset)), cHex(l2), cHex(index))
}

// Map says where the guest bytes at off live.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := im.checkRange("map", off, n); err != nil {
		return blockdev.Extent{}, err
	}
	if n == 0 {
		return blockdev.Extent{}, blockdev.ErrorAt(blockdev.ErrInvalid, "map", im.name, off, "empty range")
	}
	im.mu.RLock()
	e, err := im.mapExtent(im.l1.entries, off, n)
	im.mu.RUnlock()
	return e, im.judge(err)
}

// mapExtent is lookup in the block layer's terms.
func (im *Image) mapExtent(l1 []uint64, off, n int64) (blockdev.Extent, error) {
	m, err := im.lookup(l1, off, n)
	if err != nil {
		return blockdev.Extent{}, err
	}
	im.l2Cache.trim()
	e := blockdev.Extent{Len: m.len}
	switch m.kind {
	case clusterUnallocated:
		e.Kind = blockdev.ExtentUnallocated
	case clusterReserved:
		e.Kind, e.Allocated, e.Node, e.Host = blockdev.ExtentUnallocated, true, im.data, m.host
	case clusterZero:
		e.Kind = blockdev.ExtentZero
	case clusterZeroAllocated:
		e.Kind, e.Allocated, e.Node, e.Host = blockdev.ExtentZero, true, im.data, m.host
	case clusterCompressed:
		c := im.compressedExtent(m.entry.desc)
		e.Kind, e.Allocated, e.Compressed, e.Node, e.Host = blockdev.ExtentOpaque, true, true, im.file, c.off
	case clusterNormal:
		e.Node, e.Host, e.Allocated = im.data, m.host, true
		inFile := im.inFile(m.host, m.len)
		if inFile == 0 {
			// The file ends before: it was never written, so it reads as zeroes.
			e.Kind = blockdev.ExtentZero
			break
		}
		e.Kind, e.Len = blockdev.ExtentData, inFile
		if im.encrypted() {
			e.Kind, e.Node, e.Host = blockdev.ExtentOpaque, nil, 0
		} else if im.manyHoles() {
			return im.withoutHoles(e)
		}
	}
	return e, nil
}

// raw tells if the external data file is to be a valid raw image of the disk.
func (im *Image) raw() bool { return im.external && im.dataRaw.Load() }

// inFile is how many of n bytes at host the data node has.
func (im *Image) inFile(host, n int64) int64 {
	end := im.dataEnd.Load()
	if host+n > end {
		end = im.data.Size()
		im.dataEnd.Store(end)
	}
	return min(max(end-host, 0), n)
}
