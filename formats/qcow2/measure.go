package qcow2

import (
	"context"
	"errors"
	"slices"

	"github.com/qmon/qmon/blockdev"
)

// measure tells how large a new image will be.
func measure(ctx context.Context, r blockdev.MeasureRequest) (blockdev.Measurement, error) {
	o, err := parseCreateOptions(r.Options)
	if err != nil {
		return blockdev.Measurement{}, err
	}
	if !powerOfTwo(o.ClusterSize) || o.ClusterSize < 1<<minClusterBits || o.ClusterSize > 1<<maxClusterBits {
		return blockdev.Measurement{}, blockdev.Errorf(blockdev.ErrInvalid, "measure", "", "Cluster size must be a power of two between 512 and 2048k")
	}
	if !slices.Contains(preallocations, o.Preallocation) {
		return blockdev.Measurement{}, blockdev.Errorf(blockdev.ErrInvalid, "measure", "", "invalid parameter value: %s", o.Preallocation)
	}
	if !validRefcountBits(o.RefcountBits) {
		return blockdev.Measurement{}, blockdev.Errorf(blockdev.ErrInvalid, "measure", "", wrongRefcountBits)
	}
	if o.ExtendedL2 && o.ClusterSize < 1<<minExtendedClusterBits {
		return blockdev.Measurement{}, blockdev.Errorf(blockdev.ErrInvalid, "measure", "", extendedTooSmall)
	}
	l := newLayout(&o)
	if l.l1Needed(r.Size) > maxL1Bytes/8 {
		return blockdev.Measurement{}, blockdev.Errorf(blockdev.ErrLimit, "measure", "", "The image size is too large (try using a larger cluster size)")
	}
	keys, err := l.encryption(r)
	if err != nil {
		return blockdev.Measurement{}, err
	}
	size := l.roundUp(r.Size)
	all := l.metadata(size) + size + keys
	m := blockdev.Measurement{Required: all, FullyAllocated: all}
	if o.Preallocation != preallocFalloc && o.Preallocation != preallocFull && r.Backing.Name == "" {
		data, err := l.data(ctx, r.Source)
		if err != nil {
			return m, err
		}
		m.Required += min(data, size) - size
	}
	if o.version() < 3 || r.Bitmaps == nil {
		return m, nil
	}
	list, err := r.Bitmaps.Bitmaps()
	if errors.Is(err, blockdev.ErrNotSupported) {
		return m, nil
	}
	total := l.bitmaps(list, r.Size)
	m.Bitmaps = &total
	return m, err
}

// layout is how a new image is laid out, as far as its length depends on that.
type layout struct {
	clusterSize int64
	l2Entry     int64 // bytes
	refcount    int64 // bits
}

func newLayout(o *createOptions) layout {
	l := layout{clusterSize: o.ClusterSize, l2Entry: 8, refcount: o.RefcountBits}
	if o.ExtendedL2 {
		l.l2Entry = 16
	}
	return l
}

func (l layout) roundUp(n int64) int64  { return (n + l.clusterSize - 1) &^ (l.clusterSize - 1) }
func (l layout) clusters(n int64) int64 { return l.roundUp(n) / l.clusterSize }

// l1Needed is how many L1 entries, each for a cluster of L2 entries, a disk needs.
func (l layout) l1Needed(size int64) int64 {
	span := l.clusterSize / l.l2Entry * l.clusterSize
	n := size / span
	if size%span != 0 {
		n++
	}
	return n
}

// metadata is how many bytes header and tables of an image take that is fully allocated:
// L1 and L2 tables, and the refcount table and blocks, which count themselves too.
func (l layout) metadata(size int64) int64 {
	l2 := l.l1Needed(size)
	tables := 1 + l2 + l.clusters(l2*8)
	perBlock := l.clusterSize * 8 / l.refcount
	for refs := int64(0); ; {
		blocks := (size/l.clusterSize + tables + refs + perBlock - 1) / perBlock
		next := blocks + l.clusters(blocks*8)
		if next == refs {
			return (tables + refs) * l.clusterSize
		}
		refs = next
	}
}

// encryption is how many bytes of clusters the LUKS header takes, if there is to be one.
func (l layout) encryption(r blockdev.MeasureRequest) (int64, error) {
	e, err := parseEncryption(blockdev.CreateRequest{Options: r.Options})
	if err != nil || e.method != cryptLUKS {
		return 0, err
	}
	n, err := e.luks.HeaderSize()
	return l.roundUp(n), err
}

// data is how many bytes of clusters the contents of a disk need. What reads as zeroes
// needs none.
func (l layout) data(ctx context.Context, source blockdev.Node) (int64, error) {
	var data int64
	if source == nil {
		return 0, nil
	}
	for off, size := int64(0), source.Size(); off < size; {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		st, err := blockdev.BlockStatus(source, off, size-off, nil)
		if err != nil {
			return 0, blockdev.Because("Unable to get block status", err)
		}
		end := off + st.Len
		if st.Kind == blockdev.ExtentData || st.Kind == blockdev.ExtentOpaque {
			end = l.roundUp(end)
			data += end - off&^(l.clusterSize-1)
		}
		off = end
	}
	return data, nil
}

// bitmaps is how many bytes the bitmaps of a disk need at most: a table and all its
// clusters each, and the directory.
func (l layout) bitmaps(list []blockdev.BitmapInfo, size int64) (total int64) {
	var directory int64
	for _, b := range list {
		granules := (size + b.Granularity - 1) / b.Granularity
		clusters := l.clusters((granules + 7) / 8)
		total += l.roundUp(clusters*8) + clusters*l.clusterSize
		directory += (&bitmapEntry{name: b.Name}).encodedSize()
	}
	return total + l.roundUp(directory)
}
