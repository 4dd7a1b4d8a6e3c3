package vvfat

import (
	"errors"
	"io/fs"
	"os"
	"path"
	"strconv"
	"time"

	"github.com/qmon/qmon/blockdev"
)

// stage writes all new contents into temporary files.
func (r *reconciliation) stage(root *found) (err error) {
	root.each(func(f *found) {
		if err == nil && f.changed {
			err = r.stageFile(f)
		}
		if err == nil && f.changed {
			err = r.keep(f)
		}
	})
	return err
}

// temporary is a new name for a temporary file.
func (r *reconciliation) temporary() (string, error) {
	if r.staging == "" {
		name := temporaryPrefix + strconv.FormatInt(time.Now().UnixNano(), 36)
		if err := r.files.root.Mkdir(name, 0o700); err != nil {
			return "", r.files.ioError("write", name, blockdev.NoOffset, err)
		}
		r.staging = name
	}
	r.count++
	return path.Join(r.staging, strconv.Itoa(r.count)), nil
}

// newFileMode is what a file is given that the guest made, less the umask.
const newFileMode = 0o666

// stageFile writes f's contents, with the mode of the file that they replace.
func (r *reconciliation) stageFile(f *found) error {
	name, err := r.temporary()
	if err != nil {
		return err
	}
	fail := func(err error) error {
		var e *blockdev.Error
		if err == nil || errors.As(err, &e) {
			return err
		}
		return r.files.ioError("write", f.path(), blockdev.NoOffset, err)
	}
	out, err := r.files.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, newFileMode)
	if err != nil {
		return fail(err)
	}
	f.staged = name
	err = r.copyContents(out, f)
	if err == nil && f.item != nil {
		if info, serr := r.files.root.Stat(f.item.path()); serr == nil {
			err = out.Chmod(info.Mode().Perm())
		}
	}
	if err == nil {
		err = out.Sync()
	}
	if cerr := out.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = r.files.setTime(name, f.time)
	}
	if err == nil {
		f.stamp, err = r.files.stampAt(name)
	}
	return fail(err)
}

// copyBuffer is how much of a file is copied at once: a multiple of every cluster's size.
const copyBuffer = 1 << 20

func (r *reconciliation) copyContents(out *os.File, f *found) error {
	l := r.n.layout
	left := int64(f.size)
	buf := make([]byte, min(copyBuffer, ceilDiv(left, sectorSize)*sectorSize))
	for _, x := range f.runs {
		sector := l.clusterSector(x.first)
		for count := x.count * l.spc; count > 0 && left > 0; {
			p := buf[:min(int64(len(buf)), int64(count)*sectorSize, ceilDiv(left, sectorSize)*sectorSize)]
			if err := r.n.readSectors(p, sector); err != nil {
				return err
			}
			k := min(int64(len(p)), left)
			if _, err := out.Write(p[:k]); err != nil {
				return err
			}
			left -= k
			sector, count = sector+uint32(len(p)/sectorSize), count-uint32(len(p)/sectorSize)
		}
	}
	return nil
}

// keep copies into the overlay those of f's clusters that the guest did not write, and
// that will be lost when another file is replaced, or f itself: apply may stop between that
// and f's turn. A file that the guest does not have stays until everything is in its place.
func (r *reconciliation) keep(f *found) error {
	l := r.n.layout
	off := int64(0)
	for _, x := range f.runs {
		for c := x.first; c < x.first+x.count; {
			owner, next := r.n.live.find(c)
			count := min(next, x.first+x.count) - c
			if owner != nil && owner.item.claimed && (owner.item != f.item || owner.at(c, l) != off) {
				sectors := min(int64(count)*int64(l.spc), ceilDiv(int64(f.size)-off, sectorSize))
				if err := r.keepSectors(l.clusterSector(c), uint32(sectors)); err != nil {
					return err
				}
			}
			c += count
			off += int64(count) * l.clusterSize()
		}
	}
	return nil
}

// keepSectors copies those of the sectors into the overlay that it has not.
func (r *reconciliation) keepSectors(sector, count uint32) error {
	buf := make([]byte, min(copyBuffer, int64(count)*sectorSize))
	for count > 0 {
		written, k := r.n.overlay.run(sector, min(count, copyBuffer/sectorSize))
		if !written {
			p := buf[:k*sectorSize]
			if err := r.n.readBase(p, sector); err != nil {
				return err
			}
			if err := r.n.overlay.write(p, sector); err != nil {
				return r.files.ioError("write", ".", blockdev.NoOffset, err)
			}
		}
		sector, count = sector+k, count-k
	}
	return nil
}

// apply puts everything in its place, from the top down, and removes what is left over.
// After every step the items say what the host has, so that the next attempt goes on from
// there if one fails.
func (r *reconciliation) apply(root *found) (err error) {
	defer r.n.live.reindex(r.n.layout)
	root.each(func(f *found) {
		if err == nil {
			err = r.placeOne(f)
		}
	})
	if err != nil {
		return err
	}
	r.n.live.root.all(func(it *item) {
		if err == nil && !it.claimed {
			err = r.remove(it)
		}
	})
	if err != nil {
		return err
	}
	if err := r.syncFolders(); err != nil {
		return err
	}
	r.forget(root)
	return nil
}

// forget drops from the overlay what the host's files hold now. Not before all is in its
// place: until then a cluster can be of two files of the host, the old one and the new.
func (r *reconciliation) forget(root *found) {
	root.each(func(f *found) {
		if !f.changed {
			return
		}
		for _, x := range f.runs {
			r.n.overlay.forget(r.n.layout.clusterSector(x.first), x.count*r.n.layout.spc)
		}
	})
}

// placeOne makes one file or directory what and where it is to be.
func (r *reconciliation) placeOne(f *found) error {
	into := f.parent.item
	if other := into.children[f.host]; other != nil && other != f.item {
		if err := r.evict(other); err != nil {
			return err
		}
	}
	target := path.Join(into.path(), f.host)
	var err error
	switch {
	case f.changed:
		err = r.replace(f, target)
	case f.item == nil:
		err = r.makeFolder(f, target)
	case f.moved():
		err = r.rename(f.item, into, f.host)
	}
	if err != nil {
		return err
	}
	it := f.item
	it.first = f.first
	if f.folder || f.time == it.time {
		return nil
	}
	if err := r.files.setTime(target, f.time); err != nil {
		return r.files.ioError("write", target, blockdev.NoOffset, err)
	}
	now, err := r.files.stampAt(target)
	if err == nil {
		it.time, it.stamp = f.time, now
	}
	return err
}

// evict renames what is in the way. It gets its place, or is removed, later.
func (r *reconciliation) evict(it *item) error {
	r.count++
	return r.rename(it, it.parent, temporaryPrefix+"moved-"+strconv.FormatInt(time.Now().UnixNano(), 36)+"-"+strconv.Itoa(r.count))
}

func (r *reconciliation) rename(it *item, into *item, host string) error {
	from, to := it.path(), path.Join(into.path(), host)
	err := r.files.absent(to)
	if err == nil {
		err = r.move(from, to)
	}
	if err != nil {
		return err
	}
	it.put(into, host)
	return nil
}

// move renames on the host.
func (r *reconciliation) move(from, to string) error {
	if err := r.files.root.Rename(from, to); err != nil {
		return r.files.ioError("write", to, blockdev.NoOffset, err)
	}
	r.synced[path.Dir(from)], r.synced[path.Dir(to)] = true, true
	return nil
}

func (r *reconciliation) makeFolder(f *found, target string) error {
	if err := r.files.root.Mkdir(target, 0o777); err != nil {
		return r.files.ioError("write", target, blockdev.NoOffset, err)
	}
	f.item = &item{folder: true, claimed: true, children: map[string]*item{}}
	f.item.put(f.parent.item, f.host)
	r.synced[path.Dir(target)] = true
	return nil
}

// checkAgain looks at a file right before it is lost: staging took its time, in which
// somebody may have changed it. What a symbolic link leads to may have been changed by us.
func (r *reconciliation) checkAgain(it *item) error {
	info, err := r.files.root.Lstat(it.path())
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return nil
	}
	return r.files.check("write", it.path(), it.stamp)
}

// replace puts the staged contents at target, over the file that they replace.
func (r *reconciliation) replace(f *found, target string) error {
	var err error
	if f.item == nil {
		err = r.files.absent(target)
	} else {
		err = r.checkAgain(f.item)
	}
	if err == nil {
		err = r.move(f.staged, target)
	}
	if err != nil {
		return err
	}
	if f.item == nil {
		f.item = &item{claimed: true}
		f.item.put(f.parent.item, f.host)
	}
	it := f.item
	it.first, it.size, it.runs, it.time, it.stamp = f.first, f.size, f.runs, f.time, f.stamp
	return nil
}

// remove removes what the guest does not have any more. Directories are empty by now.
func (r *reconciliation) remove(it *item) error {
	name := it.path()
	if !it.folder {
		if err := r.checkAgain(it); err != nil {
			return err
		}
	}
	if err := r.files.root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return r.files.ioError("write", name, blockdev.NoOffset, err)
	}
	it.drop()
	r.synced[path.Dir(name)] = true
	return nil
}

// syncFolders makes the renames survive a crash. Directories that are gone need nothing,
// and where the system cannot sync a directory there is nothing to be done.
func (r *reconciliation) syncFolders() error {
	for name := range r.synced {
		f, err := r.files.root.Open(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return r.files.ioError("flush", name, blockdev.NoOffset, err)
		}
		_ = f.Sync()
		if err := f.Close(); err != nil {
			return r.files.ioError("flush", name, blockdev.NoOffset, err)
		}
	}
	return nil
}

// cleanUp removes what is left of the temporary files.
func (r *reconciliation) cleanUp() error {
	if r.staging == "" {
		return nil
	}
	if err := r.files.root.RemoveAll(r.staging); err != nil {
		return r.files.ioError("write", r.staging, blockdev.NoOffset, err)
	}
	return nil
}
