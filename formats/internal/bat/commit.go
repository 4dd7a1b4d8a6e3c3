package bat

import "github.com/qmon/qmon/blockdev"

// Flush writes the table back and makes it and all completed writes durable.
func (im *Image) Flush() error {
	if im.Writable() {
		return im.commit()
	}
	blockdev.Raise(im.c.File, blockdev.EventFlushToOS)
	return im.c.File.Flush()
}

// commit writes back all metadata, in the order that the package comment gives.
func (im *Image) commit() error {
	im.commitMu.Lock()
	defer im.commitMu.Unlock()
	im.mu.Lock()
	list := im.tables.collect()
	im.mu.Unlock()
	err := im.writeBack(list)
	im.mu.Lock()
	defer im.mu.Unlock()
	im.tables.finish(list, err != nil)
	return err
}

func (im *Image) writeBack(list []tableWrite) error {
	blockdev.Raise(im.c.File, blockdev.EventFlushToOS)
	// Data before the entries that refer to it, lower tables before upper ones.
	if err := im.c.File.Flush(); err != nil {
		return err
	}
	for _, upper := range []bool{false, true} {
		event := blockdev.EventL2Update
		if upper {
			event = blockdev.EventL1Update
		}
		written := false
		for _, w := range list {
			if w.piece.upper != upper {
				continue
			}
			im.raise(event)
			if _, err := im.c.File.WriteAt(w.data, w.piece.off+int64(w.lo)); err != nil {
				return err
			}
			written = true
		}
		if written {
			if err := im.c.File.Flush(); err != nil {
				return err
			}
		}
	}
	return nil
}
