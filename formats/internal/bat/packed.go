package bat

import "github.com/qmon/qmon/blockdev"

// WritePacked stores what a whole block, the one at off, was compressed to, right behind the
// last one. A block is packed once: one that is in the file already is refused.
func (im *Image) WritePacked(packed []byte, off int64) error {
	if err := im.makeRoom(); err != nil {
		return err
	}
	i := off / im.c.BlockSize
	defer im.busy.Lock(i, i+1, true)()
	host, err := im.reservePacked(int64(len(packed)), off)
	if err != nil {
		return err
	}
	im.raise(blockdev.EventWriteCompressed)
	if _, err := im.c.File.WriteAt(packed, host); err != nil {
		return err
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := im.addLower(i, i+1); err != nil {
		return err
	}
	im.raise(blockdev.EventL2UpdateCompressed)
	_, err = im.tables.store(i, im.c.Table.Encode(Block{Kind: Compressed, Host: host, Len: int64(len(packed))}))
	return err
}

// reservePacked finds room for n bytes for the block at off.
func (im *Image) reservePacked(n, off int64) (int64, error) {
	im.mu.Lock()
	defer im.mu.Unlock()
	b, _, err := im.find(off, 1)
	switch {
	case err != nil:
		return 0, err
	case b.Kind == Data || b.Kind == Compressed:
		return 0, blockdev.ErrorAt(blockdev.ErrInvalid, "write", im.c.Name, off, "Input/output error")
	}
	if err := im.begin(); err != nil {
		return 0, err
	}
	im.raise(blockdev.EventClusterAlloc)
	host := im.end
	_, err = im.extendTo(host + n)
	return host, err
}
