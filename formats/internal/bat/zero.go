package bat

import "github.com/qmon/qmon/blockdev"

// WriteZeroes makes a range read as zeroes: what has storage is zeroed there, of the rest
// whole blocks get an entry that says so, if the format has one.
func (im *Image) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if err := im.CheckWritable("write"); err != nil {
		return err
	}
	if err := blockdev.CheckRange("write", im, off, n); err != nil {
		return err
	}
	for n > 0 {
		k, err := im.zero(off, n, flags)
		if err != nil {
			return err
		}
		off, n = off+k, n-k
	}
	return nil
}

// zero does as much of a range as is stored in one way.
func (im *Image) zero(off, n int64, flags blockdev.ZeroFlags) (int64, error) {
	im.mu.Lock()
	b, n, err := im.find(off, n)
	im.mu.Unlock()
	switch {
	case err != nil:
		return 0, err
	case b.Kind == Zero || b.Kind == Unallocated && !im.hasBacking():
		return n, nil
	case b.Kind == Data && im.c.Cipher != nil:
		n = min(n, maxSealed)
		_, err = im.overwrite(make([]byte, n), b.Host, off)
		return n, err
	case b.Kind == Data:
		if err := im.beforeOverwrite(b.Host, off); err != nil {
			return 0, err
		}
		im.raise(blockdev.EventWriteAIO)
		return n, blockdev.WriteZeroes(im.c.File, b.Host, n, flags)
	}
	bs := im.c.BlockSize
	first, end := (off+bs-1)/bs, (off+n)/bs
	if off+n == im.Size() {
		end = im.Blocks()
	}
	// So many that their entries and those that wait already are little more than maxDirty.
	end = min(end, first+maxDirty/im.c.Table.Width)
	switch {
	case !im.c.Zeroes || first >= end:
		n = min(n, bs-off%bs)
	case off < first*bs:
		n = first*bs - off
	default:
		end, err = im.zeroBlocks(first, end)
		return min(n, end*bs-off), err
	}
	_, err = im.WriteAt(make([]byte, n), off)
	return n, err
}

// zeroBlocks enters zero blocks for those that have no storage, and tells where it stopped:
// at a block that somebody has written meanwhile.
func (im *Image) zeroBlocks(first, end int64) (int64, error) {
	if err := im.makeRoom(); err != nil {
		return first, err
	}
	defer im.busy.Lock(first, end, true)()
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := im.begin(); err != nil {
		return first, err
	}
	if err := im.addLower(first, end); err != nil {
		return first, err
	}
	for i := first; i < end; i++ {
		e, err := im.tables.lookup(i, 1)
		if err != nil {
			return i, err
		}
		b, err := e.at(0)
		if err != nil || b.Kind == Data {
			return i, err
		}
		if _, err := im.tables.store(i, im.c.Table.Encode(Block{Kind: Zero})); err != nil {
			return i, err
		}
	}
	return end, nil
}

// Discard tells the file below that the storage of a range is not needed; the blocks stay.
// Encrypted ones are left alone: what the file then has, zeroes, would be decrypted too.
func (im *Image) Discard(off, n int64) error {
	if err := im.CheckWritable("discard"); err != nil {
		return err
	}
	if err := blockdev.CheckRange("discard", im, off, n); err != nil || !im.c.Mode.Unmap || im.c.Cipher != nil {
		return err
	}
	for n > 0 {
		im.mu.Lock()
		b, k, err := im.find(off, n)
		im.mu.Unlock()
		if err != nil {
			return err
		}
		if b.Kind == Data {
			inFile := max(0, min(k, im.c.File.Size()-b.Host))
			if err := blockdev.Discard(im.c.File, b.Host, inFile); err != nil {
				return err
			}
		}
		off, n = off+k, n-k
	}
	return nil
}
