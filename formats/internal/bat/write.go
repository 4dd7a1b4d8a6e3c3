package bat

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
)

// run are blocks that are reserved behind each other in the file.
type run struct {
	host  int64 // of the first, its prefix included
	count int64
	fresh int64 // from here on the file has zeroes
}

// blockBytes is what a block takes in the file.
func (im *Image) blockBytes() int64 { return im.c.Prefix + im.c.BlockSize }

// WriteAt writes guest bytes.
func (im *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := im.CheckWritable("write"); err != nil {
		return 0, err
	}
	if err := blockdev.CheckRange("write", im, off, int64(len(p))); err != nil {
		return 0, err
	}
	for done := 0; done < len(p); {
		n, err := im.write(p[done:], off+int64(done))
		if err != nil {
			return 0, err
		}
		done += n
	}
	return len(p), nil
}

// write writes as much of p as is stored in one way.
func (im *Image) write(p []byte, off int64) (int, error) {
	im.mu.Lock()
	b, n, err := im.find(off, int64(len(p)))
	im.mu.Unlock()
	if err != nil {
		return 0, err
	}
	if b.Kind == Data {
		return im.overwrite(p[:n], b.Host, off)
	}
	bs := im.c.BlockSize
	defer im.busy.Lock(off/bs, (off+n-1)/bs+1, true)()
	im.mu.Lock()
	b, n, err = im.find(off, n) // somebody may have been faster
	im.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case b.Kind == Data:
		return im.overwrite(p[:n], b.Host, off)
	}
	return im.writeNew(p[:n], off)
}

// overwrite writes p, which is for off and lies at host.
func (im *Image) overwrite(p []byte, host, off int64) (int, error) {
	if err := im.beforeOverwrite(host, off); err != nil {
		return 0, err
	}
	im.raise(blockdev.EventWriteAIO)
	if im.c.Cipher != nil {
		return len(p), im.overwriteSealed(p, host, off)
	}
	if _, err := im.c.File.WriteAt(p, host); err != nil {
		return 0, err
	}
	return len(p), nil
}

// beforeOverwrite calls the hook for a request that begins at off, which lies at host. With
// a hook there is a prefix, so that a request reaches no further than its block.
func (im *Image) beforeOverwrite(host, off int64) error {
	if im.c.Hooks.Overwrite == nil {
		return nil
	}
	return im.c.Hooks.Overwrite(host - off%im.c.BlockSize)
}

// writeNew allocates blocks for as much of p as lies together, writes them, and enters them
// in the table. The blocks are locked and have no storage.
func (im *Image) writeNew(p []byte, off int64) (int, error) {
	bs := im.c.BlockSize
	first := off / bs
	count := (off+int64(len(p))-1)/bs - first + 1
	if im.c.Prefix > 0 {
		count = 1
	}
	r, err := im.reserve(first, count)
	if err != nil {
		return 0, err
	}
	p = p[:min(int64(len(p)), (first+r.count)*bs-off)]
	if im.c.Cipher != nil {
		im.raise(blockdev.EventWriteAIO)
		err = im.fillSealed(r, p, off)
	} else {
		err = im.fill(r, p, off)
	}
	if err == nil {
		err = im.link(first, r)
	}
	if err != nil {
		im.abandon(r)
		return 0, err
	}
	return len(p), nil
}

// fill writes new blocks: p, and around it what the blocks held before.
func (im *Image) fill(r run, p []byte, off int64) error {
	bs := im.c.BlockSize
	start, end := off/bs*bs, off/bs*bs+r.count*bs
	at := r.host + im.c.Prefix - start // host minus guest offset
	if im.c.Hooks.Prefix != nil {
		prefix := make([]byte, im.c.Prefix)
		im.c.Hooks.Prefix(prefix)
		if _, err := im.c.File.WriteAt(prefix, r.host); err != nil {
			return err
		}
	}
	if err := im.fillOld(r, start, off, at); err != nil {
		return err
	}
	im.raise(blockdev.EventWriteAIO)
	if _, err := im.c.File.WriteAt(p, off+at); err != nil {
		return err
	}
	return im.fillOld(r, off+int64(len(p)), end, at)
}

// fillOld writes the present contents of the guest range [from, to) to their new place,
// unless they are zeroes and so is the file. Each side of a write is less than a block.
func (im *Image) fillOld(r run, from, to, at int64) error {
	if from == to {
		return nil
	}
	im.mu.Lock()
	b, _, err := im.find(from, 1)
	im.mu.Unlock()
	if err != nil {
		return err
	}
	if b.Kind == Zero || b.Kind == Unallocated && im.parent.Backing() == nil {
		im.raise(blockdev.EventCOWWrite)
		stale := max(0, min(to+at, r.fresh)-(from+at))
		return blockdev.WriteZeroes(im.c.File, from+at, stale, blockdev.ZeroMayUnmap)
	}
	old := make([]byte, to-from)
	if err := im.read(old, from); err != nil {
		return err
	}
	if from+at >= r.fresh && blockdev.IsZero(old) {
		return nil
	}
	im.raise(blockdev.EventCOWWrite)
	_, err = im.c.File.WriteAt(old, from+at)
	return err
}

// reserve finds room in the file for up to count blocks, the first of which is first. Lower
// tables that are missing come before, so that data lies together.
func (im *Image) reserve(first, count int64) (run, error) {
	if err := im.makeRoom(); err != nil {
		return run{}, err
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := im.begin(); err != nil {
		return run{}, err
	}
	if err := im.addLower(first, first+count); err != nil {
		return run{}, err
	}
	im.raise(blockdev.EventClusterAlloc)
	if n := len(im.holes); n > 0 {
		h := &im.holes[n-1]
		r := run{h.Host, min(count, h.Count), h.Host + h.Count*im.blockBytes()}
		h.Host += r.count * im.blockBytes()
		h.Count -= r.count
		if h.Count == 0 {
			im.holes = im.holes[:n-1]
		}
		return r, nil
	}
	host, fresh, err := im.extend(count * im.blockBytes())
	return run{host, count, fresh}, err
}

// makeRoom has dirty pieces written if there are many.
func (im *Image) makeRoom() error {
	im.mu.Lock()
	crowded := im.tables.crowded()
	im.mu.Unlock()
	if !crowded {
		return nil
	}
	return im.commit()
}

// extend takes n bytes for a block behind the last one. It tells from where on the file has
// zeroes. mu is held.
func (im *Image) extend(n int64) (host, fresh int64, err error) {
	host = im.c.Base + (im.end-im.c.Base+im.c.Align-1)/im.c.Align*im.c.Align
	fresh, err = im.extendTo(host + n)
	return host, fresh, err
}

// extendTo moves the end, and makes the file that long. mu is held.
func (im *Image) extendTo(end int64) (fresh int64, err error) {
	if end > im.c.Limit {
		return 0, blockdev.Errorf(blockdev.ErrNoSpace, "write", im.c.Name, "the blocks of this image cannot end behind %d bytes", im.c.Limit)
	}
	if im.c.File.Size() < end {
		err := blockdev.Resize(im.c.File, end, blockdev.ResizeOptions{})
		if err != nil && !errors.Is(err, blockdev.ErrNotSupported) {
			return 0, err
		}
	}
	fresh = im.fresh
	im.fresh = max(fresh, end+im.c.Trailer)
	if im.c.Hooks.Grow != nil {
		if err := im.c.Hooks.Grow(end); err != nil {
			return 0, err
		}
	}
	im.end = end
	return fresh, nil
}

// abandon keeps what a failed write reserved for the next one.
func (im *Image) abandon(r run) {
	im.mu.Lock()
	defer im.mu.Unlock()
	im.holes = append(im.holes, Hole{r.host, r.count})
}

// link enters new blocks in the table.
func (im *Image) link(first int64, r run) error {
	im.mu.Lock()
	defer im.mu.Unlock()
	old := make([]uint64, 0, r.count)
	for k := range r.count {
		b := Block{Kind: Data, Host: r.host + k*im.blockBytes() + im.c.Prefix}
		was, err := im.tables.store(first+k, im.c.Table.Encode(b))
		if err != nil {
			return errors.Join(err, im.unlink(first, old))
		}
		old = append(old, was)
	}
	return nil
}

// unlink takes back the entries that link has made. They are dirty, and so in memory.
func (im *Image) unlink(first int64, old []uint64) error {
	for k, was := range old {
		if _, err := im.tables.store(first+int64(k), was); err != nil {
			return err
		}
	}
	return nil
}

// addLower allocates the lower tables that blocks need. mu is held.
func (im *Image) addLower(first, end int64) error {
	t := &im.tables
	if t.Lower == 0 {
		return nil
	}
	for i := first / t.Lower; i <= (end-1)/t.Lower; i++ {
		e, err := t.upperEntry(i)
		if err != nil {
			return err
		}
		if e != 0 {
			continue
		}
		n := t.Lower * t.Width
		off, fresh, err := im.extend(n)
		if err != nil {
			return err
		}
		stale := max(0, min(off+n, fresh)-off)
		if err := blockdev.WriteZeroes(im.c.File, off, stale, blockdev.ZeroMayUnmap); err != nil {
			return err
		}
		if err := t.storeUpper(i, off); err != nil {
			return err
		}
	}
	return nil
}
