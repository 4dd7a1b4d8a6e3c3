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

// reindex finds out anew which cluster is whose.
func (l *live) reindex(at layout) {
	l.index = l.index[:0]
	l.root.all(func(it *item) {
		off := int64(0)
		for _, r := range it.runs {
			l.index = append(l.index, extent{r, off, it})
			off += int64(r.count) * at.clusterSize()
		}
	})
	slices.SortFunc(l.index, func(a, b extent) int { return cmp.Compare(a.first, b.first) })
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
