package qcow2

import "github.com/qmon/qmon/blockdev"

// Clusters that were preallocated and never written are data to the tables, and holes of the
// file. To find these the file has to be asked about every run of clusters, so that is done
// only if it has many.

// An image has holes worth asking for if more clusters are in use than the host stores, by an
// eighth at least and by two: the ends of tables are not stored either.
const (
	holesShare = 8
	holesLeast = 2
)

// What is known of the holes of the file.
const (
	holesUnknown int32 = iota
	holesFew
	holesMany
)

// manyHoles tells if the file is to be asked for holes in what the tables call data. mu is
// held, shared at least.
func (im *Image) manyHoles() bool {
	if im.holes.Load() == holesUnknown {
		found := holesFew
		if im.detectHoles() {
			found = holesMany
		}
		im.holes.Store(found)
	}
	return im.holes.Load() == holesMany
}

func (im *Image) detectHoles() bool {
	a, ok := im.file.(blockdev.AllocatedSizer)
	if !ok || im.external || im.encrypted() {
		return false
	}
	size, err := a.AllocatedSize()
	if err != nil {
		return false
	}
	stored := size >> im.clusterBits
	limit := stored + max(stored/holesShare, holesLeast)
	return im.clustersFor(im.file.Size()) >= limit && im.inUse(limit)
}

// inUse tells if at least n clusters are in use.
func (im *Image) inUse(n int64) bool {
	for b := range im.refs.entries {
		t, err := im.refBlock(int64(b))
		if err != nil {
			return false // a check will say so
		}
		if t == nil {
			continue
		}
		for i := range int64(1) << im.refBlockBits {
			if im.refWidth.get(t.data, i) > 0 {
				n--
			}
		}
		if n <= 0 {
			return true
		}
		im.refCache.trim()
	}
	return false
}

// withoutHoles is e, data in the file, as far as the file says the same of all of it.
func (im *Image) withoutHoles(e blockdev.Extent) (blockdev.Extent, error) {
	below, err := im.file.Map(e.Host, e.Len)
	if err != nil {
		return e, err
	}
	e.Len = below.Len
	if below.Kind == blockdev.ExtentZero {
		e.Kind, e.Written = blockdev.ExtentZero, true
	}
	return e, nil
}
