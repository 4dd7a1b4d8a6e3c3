package vvfat

import (
	"path"
	"slices"
)

// reconcile makes the directory hold what the guest sees below root. It works in steps,
// so that whatever fails early changes nothing:
//
//	match   which file of the host is which file of the guest
//	check   nobody else changed what is going to be touched
//	stage   new contents into temporary files
//	apply   renames into place, then removes what is gone
func (n *Node) reconcile(root *found) error {
	if n.live == nil {
		n.live = newLive(n.tree)
	}
	r := &reconciliation{n: n, files: &n.files, synced: map[string]bool{}}
	r.match(root)
	err := r.check(root)
	if err == nil {
		err = r.stage(root)
	}
	if err == nil {
		err = r.apply(root)
	}
	if cerr := r.cleanUp(); err == nil {
		err = cerr
	}
	return err
}

// reconciliation is one run of reconcile.
type reconciliation struct {
	n       *Node
	files   *hostFiles
	staging string // the directory for temporary files, "" before there is one
	count   int    // of temporary names
	synced  map[string]bool
}

// match finds the item of everything that the guest has: a file with its first cluster
// and contents, wherever it is now; else the file of its name.
func (r *reconciliation) match(root *found) {
	byFirst := map[uint32]*item{}
	r.n.live.root.all(func(it *item) {
		it.claimed = false
		if it.first != 0 {
			byFirst[it.first] = it
		}
	})
	root.item = r.n.live.root
	root.item.claimed = true
	root.each(func(f *found) {
		it := byFirst[f.first]
		if f.first == 0 || it == nil || it.claimed || it.folder != f.folder || !f.folder && !r.same(f, it) {
			return
		}
		f.item, it.claimed = it, true
	})
	root.each(func(f *found) {
		if f.item == nil && f.parent.item != nil {
			if it := f.parent.item.children[f.host]; it != nil && !it.claimed && it.folder == f.folder {
				f.item, it.claimed = it, true
			}
		}
		f.changed = !f.folder && (f.item == nil || !r.same(f, f.item))
	})
}

// each calls do for everything below f, directories before what is in them.
func (f *found) each(do func(*found)) {
	for _, c := range f.children {
		do(c)
		c.each(do)
	}
}

// same tells if f's contents are those of the file it.
func (r *reconciliation) same(f *found, it *item) bool {
	if f.size != it.size || !slices.Equal(f.runs, it.runs) {
		return false
	}
	left := ceilDiv(f.size, sectorSize) // sectors of the file; what is behind it does not matter
	if r.n.overlay == nil {
		return true
	}
	for _, x := range f.runs {
		count := min(left, x.count*r.n.layout.spc)
		left -= count
		for s := r.n.layout.clusterSector(x.first); count > 0; {
			written, k := r.n.overlay.run(s, count)
			if written {
				return false
			}
			s, count = s+k, count-k
		}
	}
	return true
}

// moved tells if f's item is not where it belongs.
func (f *found) moved() bool {
	return f.item != nil && (f.item.parent != f.parent.item || f.item.host != f.host)
}

// check makes sure that every file that is to be changed, moved or removed is as it was,
// and that nothing unknown is where something is to be put.
func (r *reconciliation) check(root *found) (err error) {
	root.each(func(f *found) {
		if err != nil {
			return
		}
		if f.item != nil && !f.folder && (f.changed || f.moved() || f.time != f.item.time) {
			err = r.files.check("write", f.item.path(), f.item.stamp)
		}
		if into := f.parent.item; err == nil && into != nil && into.children[f.host] == nil {
			err = r.files.absent(path.Join(into.path(), f.host))
		}
	})
	r.n.live.root.all(func(it *item) {
		if err == nil && !it.claimed {
			err = r.checkRemoval(it)
		}
	})
	return err
}

// checkRemoval fails if it holds what the guest has never seen, and so cannot mean to
// remove.
func (r *reconciliation) checkRemoval(it *item) error {
	if !it.folder {
		return r.files.check("write", it.path(), it.stamp)
	}
	list, err := readFolder(r.files.root, it.path())
	if err != nil {
		return r.files.ioError("write", it.path(), -1, err)
	}
	for _, e := range list {
		if it.children[e.Name()] == nil {
			return r.files.changed("write", path.Join(it.path(), e.Name()), -1)
		}
	}
	return nil
}
