package qcow2

import (
	"encoding/binary"
	"syscall"

	"github.com/qmon/qmon/blockdev"
)

// refTable is the refcount table in memory, section "Host cluster management".
type refTable struct {
	entries []uint64
	dirty   map[int]struct{} // entries that the file does not have yet
	// move, if set, is where the next commit writes the whole table, which has grown.
	move *refTableMove
}

type refTableMove struct {
	off      int64
	clusters int64
	// begun is set while a commit writes the table there.
	begun bool
}

const (
	refBlockOffsetMask = ^uint64(0x1ff) // bits 9-63 of a refcount table entry
	refTableReserved   = uint64(0x1ff)
)

// refWidth codes refcounts of 1 << order bits in a refcount block.
type refWidth uint

func (w refWidth) max() uint64 {
	if w == maxRefcountOrder {
		return 1<<63 - 1 // sums stay within an int64
	}
	return 1<<(1<<w) - 1
}

// blockBits is the binary logarithm of how many refcounts a block has.
func (w refWidth) blockBits(clusterBits uint) uint { return clusterBits + 3 - uint(w) }

func (w refWidth) get(b []byte, i int64) uint64 {
	switch w {
	case 6:
		return binary.BigEndian.Uint64(b[i*8:])
	case 5:
		return uint64(binary.BigEndian.Uint32(b[i*4:]))
	case 4:
		return uint64(binary.BigEndian.Uint16(b[i*2:]))
	case 3:
		return uint64(b[i])
	}
	bit := i << w
	return uint64(b[bit>>3]) >> (bit & 7) & w.max()
}

func (w refWidth) put(b []byte, i int64, v uint64) {
	switch w {
	case 6:
		binary.BigEndian.PutUint64(b[i*8:], v)
	case 5:
		binary.BigEndian.PutUint32(b[i*4:], uint32(v))
	case 4:
		binary.BigEndian.PutUint16(b[i*2:], uint16(v))
	case 3:
		b[i] = byte(v)
	default:
		bit := i << w
		mask := byte(w.max()) << (bit & 7)
		b[bit>>3] = b[bit>>3]&^mask | byte(v)<<(bit&7)
	}
}

// span gives the bytes of a block that entry i lies in.
func (w refWidth) span(i int64) (lo, hi int) {
	bit := i << w
	return int(bit >> 3), int((bit + 1<<w + 7) >> 3)
}

// refBlock returns the refcount block number b, nil if there is none: all its refcounts
// are 0.
func (im *Image) refBlock(b int64) (*table, error) {
	if b >= int64(len(im.refs.entries)) {
		return nil, nil
	}
	off := int64(im.refs.entries[b] & refBlockOffsetMask)
	if off == 0 {
		return nil, nil
	}
	if im.mode.Check && (off < 0 || off >= im.file.Size()) && !im.refCache.has(off) {
		return nil, nil // reported as outside the image; it counts nothing
	}
	if off < 0 || off&(im.clusterSize-1) != 0 {
		return nil, im.badEntry("read", im.hdr.refTableOffset+8*b, "Refblock offset %s unaligned (reftable index: %s)", cHex(off), cHex(b))
	}
	return im.refCache.get(off)
}

// refcount of a host cluster.
func (im *Image) refcount(cluster int64) (uint64, error) {
	t, err := im.refBlock(cluster >> im.refBlockBits)
	if t == nil || err != nil {
		return 0, err
	}
	return im.refWidth.get(t.data, cluster&(1<<im.refBlockBits-1)), nil
}

// refReader reads the refcounts of clusters that mostly come in order, and asks the cache
// once for each refcount block. It must forget what it has when the cache is trimmed or a
// refcount changes.
type refReader struct {
	im    *Image
	block int64
	t     *table
}

func (r *refReader) forget() { r.t = nil }

func (r *refReader) refcount(cluster int64) (uint64, error) {
	im := r.im
	if block := cluster >> im.refBlockBits; r.t == nil || block != r.block {
		t, err := im.refBlock(block)
		if t == nil || err != nil {
			return 0, err
		}
		r.block, r.t = block, t
	}
	return im.refWidth.get(r.t.data, cluster&(1<<im.refBlockBits-1)), nil
}

// addRefcount adds delta to the refcounts of count clusters. It changes none if one of
// them would leave its range, or has no refcount block.
func (im *Image) addRefcount(first, count, delta int64) error {
	im.raiseRefblocks(first, count)
	err := im.eachRefcount(first, count, func(t *table, i, cluster int64) error {
		if t == nil {
			return im.noRefBlock(cluster)
		}
		v := im.refWidth.get(t.data, i)
		if delta < 0 && v < uint64(-delta) {
			return im.corrupt("write", cluster<<im.clusterBits, "Refcount of cluster %d is %d, which is less than it is used", cluster, v)
		}
		if delta > 0 && v > im.refWidth.max()-uint64(delta) {
			return blockdev.ErrorAt(&refusal{blockdev.ErrLimit, syscall.EINVAL}, "write", im.name, cluster<<im.clusterBits, "Refcount of cluster %d would exceed %d bits", cluster, 1<<im.refWidth)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return im.eachRefcount(first, count, func(t *table, i, _ int64) error {
		im.setRefcountIn(t, i, uint64(int64(im.refWidth.get(t.data, i))+delta))
		return nil
	})
}

// raiseRefblocks tells that the refcount blocks of some clusters are about to be changed:
// made where they are missing, loaded where not. As in QEMU one that is in memory is
// announced too, and one that is only looked at is not.
func (im *Image) raiseRefblocks(first, count int64) {
	for b := first >> im.refBlockBits; b <= (first+count-1)>>im.refBlockBits; b++ {
		im.raise(blockdev.EventRefblockAlloc)
		im.raise(blockdev.EventRefblockLoad)
	}
}

// setRefcount stores the refcount of a cluster that has a refcount block.
func (im *Image) setRefcount(cluster int64, v uint64) error {
	t, err := im.refBlock(cluster >> im.refBlockBits)
	if err != nil {
		return err
	}
	if t == nil {
		return im.noRefBlock(cluster)
	}
	im.setRefcountIn(t, cluster&(1<<im.refBlockBits-1), v)
	if v == 0 {
		im.freed(cluster)
	}
	return nil
}

// noRefBlock is the error for a cluster whose references cannot be counted: no table could
// reach it, or there is no block where QEMU would make one and have its caller try again.
func (im *Image) noRefBlock(cluster int64) error {
	errno := syscall.EAGAIN
	if cluster>>im.refBlockBits >= maxRefTableBytes/8 {
		errno = syscall.EFBIG
	}
	return blockdev.ErrorAt(&refusal{blockdev.ErrCorrupt, errno}, "write", im.name, cluster<<im.clusterBits,
		"Cluster %d is in use but has no refcount block", cluster)
}

func (im *Image) setRefcountIn(t *table, i int64, v uint64) {
	im.refWidth.put(t.data, i, v)
	lo, hi := im.refWidth.span(i)
	im.refCache.markDirty(t, lo, hi)
}

// eachRefcount calls f with the refcount block (nil if missing) and the index in it of
// each of count clusters.
func (im *Image) eachRefcount(first, count int64, f func(t *table, i, cluster int64) error) error {
	mask := int64(1)<<im.refBlockBits - 1
	var t *table
	for c := first; c < first+count; c++ {
		if c == first || c&mask == 0 {
			var err error
			if t, err = im.refBlock(c >> im.refBlockBits); err != nil {
				return err
			}
		}
		if err := f(t, c&mask, c); err != nil {
			return err
		}
	}
	return nil
}
