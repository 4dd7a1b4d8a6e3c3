package qcow2

import (
	"github.com/qmon/qmon/blockdev"
)

// Bits of a bitmap table entry, section "Bitmap table". An entry without an offset stands
// for bits that are all 0, or with the lowest bit set all 1.
const (
	bitmapAllOnes       = 1 << 0
	bitmapTableReserved = 0xff000000000001fe
)

// loadBitmap reads the contents of a bitmap, if that was not done yet. mu is held.
func (im *Image) loadBitmap(b *bitmap) error {
	if b.dirty != nil {
		return nil
	}
	d, err := blockdev.NewDirtyBitmap(im.Size(), 1<<b.granularity)
	if err != nil {
		return err
	}
	if need := im.clustersFor(d.EncodedSize()); b.entries != need {
		return im.corrupt("bitmap", b.table, "Table of bitmap '%s' has %d entries, not %d", b.name, b.entries, need)
	}
	table, err := im.bitmapTable(&b.bitmapEntry)
	if err != nil {
		return err
	}
	for i, e := range table {
		if err := im.loadBits(d, int64(i)*im.clusterSize, e); err != nil {
			return err
		}
	}
	b.dirty = d
	return nil
}

// bitmapTable reads the table of a bitmap: as much of it as the file has. It refuses one
// that refers to more clusters than there are.
func (im *Image) bitmapTable(b *bitmapEntry) ([]uint64, error) {
	if b.entries*8 > maxBitmapTable || !validTable(b.table, b.entries*8, im.clusterSize) {
		return nil, im.corrupt("bitmap", b.table, "Bitmap table of %d entries is invalid", b.entries)
	}
	inFile := max(im.file.Size()-b.table+7, 0) / 8
	table, err := im.readEntries(b.table, min(b.entries, inFile))
	if err != nil {
		return nil, err
	}
	room := im.clustersFor(im.file.Size())
	for _, e := range table {
		host := int64(e & entryOffset)
		if e&bitmapTableReserved != 0 || host&(im.clusterSize-1) != 0 || host != 0 && e&bitmapAllOnes != 0 {
			return nil, im.corrupt("bitmap", b.table, "Entry %#x of a bitmap table is invalid", e)
		}
		if host != 0 {
			room--
		}
	}
	if room < 0 {
		return nil, im.corrupt("bitmap", b.table, "Bitmap table has more entries than the file has clusters")
	}
	return table, nil
}

// loadBits sets the bits, from byte at on, that a table entry stands for.
func (im *Image) loadBits(d *blockdev.DirtyBitmap, at int64, e uint64) error {
	host := int64(e & entryOffset)
	if host == 0 {
		if e&bitmapAllOnes != 0 {
			d.Set(at*8*d.Granularity(), im.clusterSize*8*d.Granularity())
		}
		return nil
	}
	buf := make([]byte, im.clusterSize)
	if err := readPadded(im.file, buf, host); err != nil {
		return err
	}
	d.Decode(buf, at)
	return nil
}

// bitmapRuns are the clusters of a bitmap: its table's and those that it refers to.
func (im *Image) bitmapRuns(b *bitmapEntry) ([]clusterRun, error) {
	table, err := im.bitmapTable(b)
	if err != nil {
		return nil, err
	}
	runs := []clusterRun{{b.table >> im.clusterBits, im.clustersFor(b.entries * 8)}}
	for _, e := range table {
		if host := int64(e & entryOffset); host != 0 {
			runs = append(runs, clusterRun{host >> im.clusterBits, 1})
		}
	}
	return runs, nil
}

// bitmapWriter writes bitmaps to new clusters.
type bitmapWriter struct {
	im   *Image
	runs []clusterRun // allocated so far
}

// write stores data in new clusters and tells where.
func (w *bitmapWriter) write(data []byte) (int64, error) {
	run, err := w.im.allocate("", w.im.clustersFor(int64(len(data))), true)
	if err != nil {
		return 0, err
	}
	w.runs = append(w.runs, run)
	off := run.first << w.im.clusterBits
	_, err = w.im.file.WriteAt(data, off)
	return off, err
}

// bitmap stores the contents of a bitmap and notes in its entry where.
func (w *bitmapWriter) bitmap(b *bitmap) error {
	cs := w.im.clusterSize
	table := make([]uint64, w.im.clustersFor(b.dirty.EncodedSize()))
	buf := make([]byte, cs)
	span := cs * 8 * b.dirty.Granularity() // of a table entry
	for i := range table {
		start := int64(i) * span
		n := min(b.dirty.Size()-start, span)
		dirty, same := b.dirty.Status(start, n)
		switch {
		case same == n && dirty:
			table[i] = bitmapAllOnes
		case same < n:
			b.dirty.Encode(buf, int64(i)*cs)
			off, err := w.write(buf)
			if err != nil {
				return err
			}
			table[i] = uint64(off)
		}
	}
	off, err := w.write(encodeEntries(table))
	if err == nil {
		b.table, b.entries = off, int64(len(table))
	}
	return err
}

// storeBitmaps writes what is not in the file yet and a new directory, then makes the
// header refer to that, and frees what is no longer used: a crash leaks at worst. commitMu
// and mu are held.
func (im *Image) storeBitmaps() error {
	if !im.bitmapsChanged {
		return nil
	}
	w := &bitmapWriter{im: im}
	if err := im.writeBitmaps(w); err != nil {
		for _, r := range w.runs {
			im.giveBack(r)
		}
		return err
	}
	return nil
}

func (im *Image) writeBitmaps(w *bitmapWriter) error {
	stored := make([]bitmapEntry, len(im.bitmaps))
	var dir []byte
	var off int64
	dirOff, dirSize, _ := im.bitmapDirectory()
	for i, b := range im.bitmaps {
		c := *b
		if b.unsaved {
			if err := w.bitmap(&c); err != nil {
				return err
			}
		}
		c.off = int64(len(dir))
		stored[i] = c.bitmapEntry
		dir = append(dir, c.encode()...)
	}
	if len(dir) > 0 {
		var err error
		if off, err = w.write(dir); err != nil {
			return err
		}
	}
	// The commit makes all that was written durable.
	if err := im.commitLocked(); err != nil {
		return err
	}
	if err := im.setBitmapDirectory(len(stored), off, int64(len(dir))); err != nil {
		// On disk the header may have changed all the same: all clusters stay.
		w.runs = nil
		return err
	}
	im.release(dirOff>>im.clusterBits, im.clustersFor(dirSize), 1, discardOther)
	im.releaseBitmaps(stored)
	for i, b := range im.bitmaps {
		stored[i].off += off
		b.bitmapEntry, b.unsaved = stored[i], false
	}
	im.bitmapsStored, im.bitmapsChanged = stored, false
	return nil
}

// releaseBitmaps frees the clusters of those bitmaps that were in the file and are not
// there, or lie elsewhere, now. What cannot be read is leaked.
func (im *Image) releaseBitmaps(now []bitmapEntry) {
	kept := map[int64]bool{}
	for _, b := range now {
		kept[b.table] = true
	}
	for _, b := range im.bitmapsStored {
		if kept[b.table] {
			continue
		}
		runs, err := im.bitmapRuns(&b)
		if err != nil {
			continue
		}
		for _, r := range runs {
			im.release(r.first, r.count, 1, discardOther)
		}
	}
}
