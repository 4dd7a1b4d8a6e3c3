package qcow2

import "math/bits"

// Bits of L1 and L2 entries, section "Cluster mapping".
const (
	entryCopied     = 1 << 63
	entryCompressed = 1 << 62
	entryZero       = 1 << 0
	entryOffset     = 0x00fffffffffffe00
	l1Reserved      = 0x7f000000000001ff
	l2Reserved      = 0x3f000000000001fe
)

// Extended entries, section "Extended L2 Entries": a cluster has 32 subclusters.
const (
	subclusterBits = 5
	// minExtendedClusterBits makes a subcluster a sector at least.
	minExtendedClusterBits = 14
	zeroBitmapShift        = 32 // where the "reads as zeroes" half of the bitmap begins
)

// l2Entry is an entry of an L2 table: the cluster descriptor and, in images with extended
// entries, the subcluster allocation bitmap.
type l2Entry struct{ desc, bitmap uint64 }

// clusterKind says how a subcluster is stored; without extended entries a cluster has one.
type clusterKind uint8

const (
	clusterUnallocated clusterKind = iota
	clusterReserved                // unallocated, and there is storage for it
	clusterZero                    // reads as zeroes, no storage
	clusterZeroAllocated
	clusterNormal
	clusterCompressed
	clusterInvalid // what the specification forbids
)

// stored tells if there is plain storage, used or not.
func (k clusterKind) stored() bool {
	return k == clusterReserved || k == clusterZeroAllocated || k == clusterNormal
}

// l2Geometry is what the size of clusters, and of entries, makes of L2 tables.
type l2Geometry struct {
	clusterBits uint
	extended    bool
	entryShift  uint // log2 of the bytes of an entry
	l2Bits      uint // log2 of the entries of a table
	subBits     uint // log2 of the bytes of a subcluster
	subclusters int  // of a cluster
}

func newL2Geometry(clusterBits uint, extended bool) l2Geometry {
	g := l2Geometry{clusterBits: clusterBits, extended: extended, entryShift: 3, subBits: clusterBits, subclusters: 1}
	if extended {
		g.entryShift, g.subBits, g.subclusters = 4, clusterBits-subclusterBits, 1<<subclusterBits
	}
	g.l2Bits = clusterBits - g.entryShift
	return g
}

// l1Needed is how many L1 entries a disk of size bytes needs.
func (g *l2Geometry) l1Needed(size int64) int64 {
	shift := g.clusterBits + g.l2Bits // what an entry covers
	n := size >> shift
	if size&(1<<shift-1) != 0 {
		n++
	}
	return n
}

// l2Span is how many guest bytes one L1 entry covers.
func (g *l2Geometry) l2Span() int64 { return 1 << (g.clusterBits + g.l2Bits) }

// subSize is the number of bytes of a subcluster.
func (g *l2Geometry) subSize() int64 { return 1 << g.subBits }

// allSubclusters is the set of all subclusters of a cluster.
func (g *l2Geometry) allSubclusters() uint32 { return uint32(uint64(1)<<g.subclusters - 1) }

// subset is the set of subclusters that bytes [from, to) of a cluster lie in.
func (g *l2Geometry) subset(from, to int64) uint32 {
	if from >= to {
		return 0
	}
	first, end := from>>g.subBits, (to-1)>>g.subBits+1
	return uint32(uint64(1)<<end - uint64(1)<<first)
}

// entry reads entry i of a table.
func (g *l2Geometry) entry(t *table, i int64) l2Entry {
	if g.extended {
		return l2Entry{t.word(2 * i), t.word(2*i + 1)}
	}
	return l2Entry{desc: t.word(i)}
}

// putEntry stores entry i of a table.
func (im *Image) putEntry(t *table, i int64, e l2Entry) {
	if !im.extended {
		im.l2Cache.put(t, i, e.desc)
		return
	}
	im.l2Cache.put(t, 2*i, e.desc)
	im.l2Cache.put(t, 2*i+1, e.bitmap)
}

// compressed tells if the entry is a compressed cluster's.
func (e l2Entry) compressed() bool { return e.desc&entryCompressed != 0 }

// owned tells if the entry's cluster has but one user.
func (e l2Entry) owned() bool { return e.desc&entryCopied != 0 }

// allocated and zeroed are the sets of subclusters that the bitmap names.
func (e l2Entry) allocated() uint32 { return uint32(e.bitmap) }
func (e l2Entry) zeroed() uint32    { return uint32(e.bitmap >> zeroBitmapShift) }

// stored tells if the entry has plain storage. Offset 0 is one in an external data file,
// where the copied flag says so.
func (im *Image) stored(e l2Entry) bool {
	return !e.compressed() && (e.desc&entryOffset != 0 || im.external && e.owned())
}

// aligned tells if the storage of an entry, if it has plain one, begins with a cluster.
func (im *Image) aligned(e l2Entry) bool {
	return !im.stored(e) || e.desc&entryOffset&uint64(im.clusterSize-1) == 0
}

// kind tells how subcluster s of an entry is stored.
func (im *Image) kind(e l2Entry, s int) clusterKind {
	if e.compressed() {
		return clusterCompressed
	}
	stored := im.stored(e)
	if im.extended {
		return e.subclusterKind(s, stored)
	}
	switch zero := e.desc&entryZero != 0 && im.v3(); {
	case zero && stored:
		return clusterZeroAllocated
	case zero:
		return clusterZero
	case stored:
		return clusterNormal
	}
	return clusterUnallocated
}

func (e l2Entry) subclusterKind(s int, stored bool) clusterKind {
	allocated, zero := e.allocated()>>s&1 != 0, e.zeroed()>>s&1 != 0
	switch {
	case allocated && (zero || !stored):
		return clusterInvalid
	case allocated:
		return clusterNormal
	case zero && stored:
		return clusterZeroAllocated
	case zero:
		return clusterZero
	case stored:
		return clusterReserved
	}
	return clusterUnallocated
}

// invalid tells if a subcluster of an entry is of kind clusterInvalid.
func (im *Image) invalid(e l2Entry) bool {
	return im.extended && !e.compressed() && (e.allocated()&e.zeroed() != 0 || e.allocated() != 0 && !im.stored(e))
}

// sameKind counts the subclusters from s on that are of kind k, as s is.
func (im *Image) sameKind(e l2Entry, s int, k clusterKind) int {
	if k == clusterCompressed {
		return im.subclusters - s
	}
	n := 1
	for s+n < im.subclusters && im.kind(e, s+n) == k {
		n++
	}
	return n
}

// held is the set of subclusters whose contents only this entry's storage has.
func (im *Image) held(e l2Entry) uint32 {
	switch {
	case e.compressed():
		return im.allSubclusters()
	case im.extended:
		return e.allocated()
	case im.kind(e, 0) == clusterNormal:
		return 1
	}
	return 0
}

// withData is the entry with data in the given subclusters.
func (im *Image) withData(e l2Entry, set uint32) l2Entry {
	if im.extended {
		e.bitmap = e.bitmap&^(uint64(set)<<zeroBitmapShift) | uint64(set)
	}
	return e
}

// withZeroes is the entry with the given subclusters reading as zeroes; without extended
// entries these are all.
func (im *Image) withZeroes(e l2Entry, set uint32) l2Entry {
	if !im.extended {
		e.desc |= entryZero
		return e
	}
	e.bitmap = e.bitmap&^uint64(set) | uint64(set)<<zeroBitmapShift
	return e
}

// readsAsZeroes tells if an entry says of all the given subclusters that they do.
func (im *Image) readsAsZeroes(e l2Entry, set uint32) bool {
	if im.extended {
		return !e.compressed() && e.zeroed()&set == set
	}
	k := im.kind(e, 0)
	return k == clusterZero || k == clusterZeroAllocated
}

// lowest and highest give the bounds of a set of subclusters.
func lowest(set uint32) int64  { return int64(bits.TrailingZeros32(set)) }
func highest(set uint32) int64 { return int64(bits.Len32(set)) }
