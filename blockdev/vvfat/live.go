package vvfat

import (
	"cmp"
	"path"
	"slices"
	"sort"
)

// item is a file or directory of the host that the guest knows, where it is now.
type item struct {
	parent   *item // nil for the root, and for what is gone
	host     string
	folder   bool
	first    uint32
	size     uint32
	time     fatTime
	stamp    stamp // of a file, when it was seen last
	runs     []run
	children map[string]*item // of a directory, by host name

	claimed bool // by something that the guest has, in the reconciliation under way
}

func (it *item) path() string {
	if it.parent == nil {
		return "."
	}
	return path.Join(it.parent.path(), it.host)
}

// put makes it a child of parent called host.
func (it *item) put(parent *item, host string) {
	it.drop()
	it.parent, it.host = parent, host
	parent.children[host] = it
}

// drop takes it out of its directory.
func (it *item) drop() {
	if it.parent != nil && it.parent.children[it.host] == it {
		delete(it.parent.children, it.host)
	}
}

// live is what the directory holds since the first reconciliation. Until then the tree
// says it, in much less memory.
type live struct {
	root  *item
	index []extent // sorted by cluster
}

// extent is a run of clusters with a piece of a file of the host.
type extent struct {
	run
	off  int64 // in the file, bytes
	item *item
}

func (x extent) end() uint32 { return x.first + x.count }

// at is where in the file its cluster c begins.
func (x extent) at(c uint32, l layout) int64 { return x.off + int64(c-x.first)*l.clusterSize() }

// newLive is what the tree says.
func newLive(t *tree) *live {
	items := make([]*item, len(t.nodes))
	for i, n := range t.nodes {
		it := &item{folder: n.folder(), first: t.start(uint32(i)), time: newFATTime(n.time())}
		items[i] = it
		if it.folder {
			it.children = make(map[string]*item, n.count)
		} else {
			it.size, it.stamp = n.size, t.stamp(uint32(i))
			if count := t.end(uint32(i)) - n.first; count > 0 {
				it.runs = []run{{n.first, count}}
			}
		}
		if i > 0 {
			it.put(items[n.parent], t.name(uint32(i)))
		}
	}
	l := &live{root: items[0]}
	l.reindex(t.layout)
	return l
}

// all calls f for it and everything below, directories after what is in them.
func (it *item) all(f func(*item)) {
	for _, c := range it.children {
		c.all(f)
	}
	f(it)
}

// reindex finds out anew which cluster is whose. When changes were carried out by half, a
// file that is still to be removed or replaced can have clusters that another one has now:
// what the guest does not have gives way. Between two files that the guest has it does not
// matter, as the overlay holds what it sees there (see reconciliation.keep).
func (l *live) reindex(at layout) {
	var claimed, rest []extent
	l.root.all(func(it *item) {
		off := int64(0)
		for _, r := range it.runs {
			if x := (extent{r, off, it}); it.claimed {
				claimed = append(claimed, x)
			} else {
				rest = append(rest, x)
			}
			off += int64(r.count) * at.clusterSize()
		}
	})
	l.index = nil
	l.add(claimed, at)
	l.add(rest, at)
}

// add adds to the index what of the extents is not in it yet.
func (l *live) add(more []extent, at layout) {
	byCluster := func(a, b extent) int { return cmp.Compare(a.first, b.first) }
	slices.SortFunc(more, byCluster)
	var pieces []extent
	done := uint32(0) // where the last extent ended
	for _, x := range more {
		for c := max(x.first, done); c < x.end(); {
			taken, next := l.find(c)
			next = min(next, x.end())
			if taken == nil {
				pieces = append(pieces, extent{run{c, next - c}, x.at(c, at), x.item})
			}
			c = next
		}
		done = max(done, x.end())
	}
	l.index = append(l.index, pieces...)
	slices.SortFunc(l.index, byCluster)
}

// find is the extent that cluster c is in, or nil, and where the next one begins.
func (l *live) find(c uint32) (x *extent, next uint32) {
	i := sort.Search(len(l.index), func(i int) bool { return l.index[i].end() > c })
	switch {
	case i == len(l.index):
		return nil, 1<<32 - 1
	case l.index[i].first <= c:
		return &l.index[i], l.index[i].end()
	}
	return nil, l.index[i].first
}
