package qcow2

import (
	"errors"

	"github.com/qmon/qmon/blockdev"
)

// cutFile gives back what lies behind the last cluster in use, after refcount blocks that
// count nothing any more were dropped. commitMu and mu are held.
func (im *Image) cutFile() error {
	// Refcounts are not postponed: none may count what is behind the end.
	lazy := im.lazy
	im.lazy = false
	defer func() { im.lazy = lazy }()
	if err := im.commitAll(); err != nil {
		return err
	}
	if err := im.dropEmptyBlocks(); err != nil {
		return err
	}
	// What a block was must not be used again before the table in the file forgets it.
	if err := im.commitAll(); err != nil {
		return err
	}
	last, err := im.lastCluster()
	if err != nil {
		return err
	}
	end := (last + 1) << im.clusterBits
	if end >= im.file.Size() {
		return nil
	}
	if im.packed >= end {
		im.packed = 0
	}
	if !im.external {
		im.dataEnd.Store(0)
	}
	err = blockdev.Resize(im.file, end, blockdev.ResizeOptions{Shrink: true})
	if errors.Is(err, blockdev.ErrNotSupported) {
		return nil // a drive of the host stays as long as it is
	}
	return err
}

// dropEmptyBlocks drops the refcount blocks that count no cluster but, perhaps, themselves.
func (im *Image) dropEmptyBlocks() error {
	for b, e := range im.refs.entries {
		t, err := im.refBlock(int64(b))
		if err != nil {
			return err
		}
		if t == nil {
			continue
		}
		own := t.off >> im.clusterBits
		if !im.countsOnly(t, int64(b), own) {
			continue
		}
		im.refs.entries[b] = 0
		im.refs.dirty[b] = struct{}{}
		if own>>im.refBlockBits != int64(b) {
			im.release(own, 1, 1, discardOther)
		}
		im.refCache.drop(int64(e & refBlockOffsetMask))
		im.freeHint = min(im.freeHint, int64(b)<<im.refBlockBits)
		im.refCache.trim()
	}
	return nil
}

// countsOnly tells if no cluster but own has a refcount in block b.
func (im *Image) countsOnly(t *table, b, own int64) bool {
	for i := range int64(1) << im.refBlockBits {
		if im.refWidth.get(t.data, i) != 0 && b<<im.refBlockBits+i != own {
			return false
		}
	}
	return true
}

// lastCluster is the last host cluster in use.
func (im *Image) lastCluster() (int64, error) {
	for b := len(im.refs.entries) - 1; b >= 0; b-- {
		t, err := im.refBlock(int64(b))
		if err != nil {
			return 0, err
		}
		if t == nil {
			continue
		}
		for i := int64(1)<<im.refBlockBits - 1; i >= 0; i-- {
			if im.refWidth.get(t.data, i) != 0 {
				return int64(b)<<im.refBlockBits + i, nil
			}
		}
	}
	return 0, nil
}
