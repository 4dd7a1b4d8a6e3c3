package qcow2

import "github.com/qmon/qmon/blockdev"

// Bits of L1 and L2 entries, section "Cluster mapping".
const (
	entryCopied     = 1 << 63
	entryCompressed = 1 << 62
	entryZero       = 1 << 0
	entryOffset     = 0x00fffffffffffe00
	l1Reserved      = 0x7f000000000001ff
	l2Reserved      = 0x3f000000000001fe
)

// clusterKind says how a guest cluster is stored.
type clusterKind uint8

const (
	clusterUnallocated clusterKind = iota
	clusterZero                    // reads as zeroes, no storage
	clusterZeroAllocated
	clusterNormal
	clusterCompressed
)

// classify tells the kind of cluster an L2 entry describes.
func (im *Image) classify(e uint64) clusterKind {
	switch {
	case e&entryCompressed != 0:
		return clusterCompressed
	case im.v3() && e&entryZero != 0:
		if e&entryOffset != 0 {
			return clusterZeroAllocated
		}
		return clusterZero
	case e&entryOffset != 0:
		return clusterNormal
	}
	return clusterUnallocated
}

// mapping says how a run of guest bytes is stored.
type mapping struct {
	kind  clusterKind
	len   int64  // bytes from the offset asked for
	host  int64  // where the first of them is: normal and allocated zero clusters
	owned bool   // the clusters, and the L2 table, are used by nobody else: write in place
	entry uint64 // the first cluster's L2 entry
}

// l2Span is how many guest bytes one L1 entry covers.
func (im *Image) l2Span() int64 { return im.clusterSize << im.l2Bits }

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
	e := t.entry(first)
	m := mapping{kind: im.classify(e), entry: e, len: im.clusterSize - in}
	step := uint64(0)
	switch m.kind {
	case clusterNormal, clusterZeroAllocated:
		if err := im.checkDataOffset(e, off); err != nil {
			return mapping{}, err
		}
		m.host = int64(e&entryOffset) + in
		m.owned = e&l1[i1]&entryCopied != 0
		step = uint64(im.clusterSize)
	case clusterCompressed:
		m.len = min(m.len, n)
		return m, nil
	}
	for i := first + 1; i < 1<<im.l2Bits && m.len < n; i++ {
		if e += step; t.entry(i) != e {
			break
		}
		m.len += im.clusterSize
	}
	m.len = min(m.len, n)
	return m, nil
}

// l2Table returns the L2 table that an L1 entry points to.
func (im *Image) l2Table(l1Entry uint64, index int64) (*table, error) {
	off := int64(l1Entry & entryOffset)
	if off&(im.clusterSize-1) != 0 {
		return nil, im.corrupt("map", im.l1.off+8*index, "L2 table offset %#x unaligned (L1 index: %#x)", off, index)
	}
	return im.l2Cache.get(off)
}

func (im *Image) checkDataOffset(e uint64, guest int64) error {
	if host := e & entryOffset; host&uint64(im.clusterSize-1) != 0 {
		kind := "Cluster allocation"
		if e&entryZero != 0 {
			kind = "Preallocated zero cluster"
		}
		return im.corrupt("map", int64(host), "%s offset %#x unaligned (guest offset: %#x)", kind, host, guest)
	}
	return nil
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
	defer im.mu.RUnlock()
	return im.mapExtent(im.l1.entries, off, n)
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
	case clusterZero:
		e.Kind = blockdev.ExtentZero
	case clusterZeroAllocated:
		e.Kind, e.Allocated, e.Node, e.Host = blockdev.ExtentZero, true, im.file, m.host
	case clusterCompressed:
		c := im.compressedExtent(m.entry)
		e.Kind, e.Allocated, e.Compressed, e.Node, e.Host = blockdev.ExtentOpaque, true, true, im.file, c.off
	case clusterNormal:
		e.Node, e.Host, e.Allocated = im.file, m.host, true
		inFile := im.inFile(m.host, m.len)
		if inFile == 0 {
			// The file ends before: it was never written, so it reads as zeroes.
			e.Kind = blockdev.ExtentZero
			break
		}
		e.Kind, e.Len = blockdev.ExtentData, inFile
	}
	return e, nil
}

// inFile is how many of n bytes at host the file has.
func (im *Image) inFile(host, n int64) int64 {
	end := im.fileEnd.Load()
	if host+n > end {
		end = im.file.Size()
		im.fileEnd.Store(end)
	}
	return min(max(end-host, 0), n)
}
