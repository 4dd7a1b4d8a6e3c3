package vhdx

import "github.com/qmon/qmon/blockdev"

// logWriter is the log as we write it: every entry is a sequence of its own, as the one
// before it has reached its place, durably, when the next is written.
type logWriter struct {
	id   guid
	at   span
	seq  uint64
	next int64 // where in the log the next entry goes
}

func newLogWriter(h *header) *logWriter {
	return &logWriter{id: newGUID(), at: span{h.logOffset, h.logLength}, seq: 1}
}

// maxEntry is how long an entry may be: the one before it must stay whole, as that is the
// newest if this one is torn. A third of the ring, as entries are not wrapped around.
func (w *logWriter) maxEntry() int64 { return min(w.at.len/3, mib/2) }

// maxEntryPages is how many pages the longest entry has.
func (w *logWriter) maxEntryPages() int64 {
	n := w.maxEntry() / logSector
	for entrySize(n) > w.maxEntry() {
		n--
	}
	return n
}

// commit makes all data and then all changes of the table durable.
func (im *Image) commit() error {
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	return im.commitLocked()
}

// commitLocked is commit; commitMu is held.
func (im *Image) commitLocked() error {
	for {
		im.mu.Lock()
		end := im.fileEnd
		var pages []logPage
		if im.bat.dirty > 0 {
			if im.log == nil {
				im.log = newLogWriter(im.headers.current)
			}
			pages = im.bat.takeDirty(im.log.maxEntryPages())
		}
		im.mu.Unlock()
		// This also brings to rest what the last commit wrote into the table.
		err := im.file.Flush()
		if len(pages) == 0 {
			return err
		}
		if err == nil {
			err = im.commitPages(pages, end)
		}
		im.mu.Lock()
		im.bat.settle(pages, err == nil)
		more := im.bat.dirty > 0
		im.mu.Unlock()
		if err != nil || !more {
			return err
		}
	}
}

// commitPages writes pages of the table: to the log, durably, and then to their places.
// The file is end bytes long, durably.
func (im *Image) commitPages(pages []logPage, end int64) error {
	w := im.log
	size := entrySize(int64(len(pages)))
	if w.next+size > w.at.len {
		w.next = 0
	}
	b := encodeEntry(logEntry{seq: w.seq, tail: w.next, flushed: end, last: end}, w.id, pages)
	if _, err := im.file.WriteAt(b, w.at.off+w.next); err != nil {
		return err
	}
	if err := im.file.Flush(); err != nil {
		return err
	}
	if im.headers.current.log != w.id {
		if err := im.headers.update(im.file, func(h *header) { h.log = w.id }); err != nil {
			return err
		}
	}
	w.seq++
	w.next += size
	for _, p := range pages {
		if _, err := im.file.WriteAt(p.data, p.off); err != nil {
			return err
		}
	}
	return nil
}

// touch gives the image new identifiers before it is changed for the first time since it
// was opened, section 2.2.2: others must not take it for the one they know.
func (im *Image) touch() error {
	if im.touched.Load() {
		return nil
	}
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	if im.touched.Load() {
		return nil
	}
	err := im.headers.update(im.file, func(h *header) { h.fileWrite, h.dataWrite = newGUID(), newGUID() })
	if err == nil {
		im.touched.Store(true)
	}
	return err
}

// rest empties the log, so that everybody can read the file. commitMu is held.
func (im *Image) rest() error {
	if err := im.commitLocked(); err != nil {
		return err
	}
	if im.headers.current.log.isZero() {
		return nil
	}
	if err := im.file.Flush(); err != nil {
		return err
	}
	// Twice, so that the older header does not name a log that is no longer true.
	for range 2 {
		if err := im.headers.update(im.file, func(h *header) { h.log = guid{} }); err != nil {
			return err
		}
	}
	im.log = nil
	return nil
}

func (im *Image) checkWritable(op string) error {
	if !im.writable.Load() {
		return blockdev.Errorf(blockdev.ErrReadOnly, op, im.name, "Block node is read-only")
	}
	return nil
}
