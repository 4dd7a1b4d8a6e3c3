package vhdx

import "github.com/qmon/qmon/blockdev"

// mapSteps is how many blocks one Map looks at: two pages of the table, so that a huge
// disk does not hold up whoever only wants its beginning.
const mapSteps = 1024

// ReadAt reads from where the blocks lie.
func (im *Image) ReadAt(p []byte, off int64) (int, error) { return blockdev.Read(im, p, off) }

// Map says where blocks lie; those that are not present read as zeroes.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", im, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	im.mu.Lock()
	defer im.mu.Unlock()
	bs := im.meta.blockSize
	host, present, err := im.lookup(off / bs)
	if err != nil {
		return blockdev.Extent{}, err
	}
	e := blockdev.Extent{Kind: blockdev.ExtentZero, Len: min(n, bs-off%bs)}
	if present {
		e.Kind, e.Node, e.Host = blockdev.ExtentData, im.file, host+off%bs
	}
	for range mapSteps {
		if e.Len >= n {
			break
		}
		h, p, err := im.lookup((off + e.Len) / bs)
		if err != nil || p != present || p && h != e.Host+e.Len {
			break // an error is for whoever asks for that block
		}
		e.Len = min(n, e.Len+bs)
	}
	return e, nil
}

// used is how many bytes of a block the disk has.
func (im *Image) used(block int64) int64 {
	return min(im.meta.blockSize, im.meta.diskSize-block*im.meta.blockSize)
}

// lookup finds a block. mu is held.
func (im *Image) lookup(block int64) (host int64, present bool, err error) {
	e, err := im.bat.get(block)
	if err != nil {
		return 0, false, err
	}
	return im.locate(e, block)
}

// locate checks the entry of a block. Where it is in the file must be nobody else's place.
func (im *Image) locate(e uint64, block int64) (host int64, present bool, err error) {
	switch e & stateMask {
	case blockNotPresent, blockUndefined, blockZero, blockUnmapped:
		return 0, false, nil
	case blockPresent:
	default:
		if e&stateMask == blockPartlyPresent && im.meta.hasParent {
			break
		}
		return 0, false, im.corrupt("VHDX block %d has the invalid state %d", block, e&stateMask)
	}
	host, err = im.place(e, im.used(block), "block", block)
	return host, err == nil, err
}

// place is where n bytes lie that the entry e is about; what tells of which kind number i is.
func (im *Image) place(e uint64, n int64, what string, i int64) (int64, error) {
	mibs := e >> offsetShift
	if mibs > maxFileSize/mib {
		return 0, im.corrupt("VHDX %s %d lies at %#x MiB", what, i, mibs)
	}
	at := span{int64(mibs) * mib, n}
	if at.end() > im.fileEnd {
		return 0, im.corrupt("VHDX %s %d at %#x lies behind the end of the file", what, i, at.off)
	}
	for _, r := range im.reserved {
		if at.overlaps(r) {
			return 0, im.corrupt("VHDX %s %d at %#x overlaps with metadata", what, i, at.off)
		}
	}
	return at.off, nil
}

func (im *Image) corrupt(format string, args ...any) error {
	return blockdev.ErrorAt(blockdev.ErrCorrupt, "map", im.name, im.bat.at.off, format, args...)
}

// WriteAt writes to where the blocks lie; those that are not there yet are added.
func (im *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("write", im, off, int64(len(p))); err != nil {
		return 0, err
	}
	if err := im.checkWritable("write"); err != nil {
		return 0, err
	}
	if err := im.touch(); err != nil {
		return 0, err
	}
	bs := im.meta.blockSize
	for rest := p; len(rest) > 0; {
		n := min(int64(len(rest)), bs-off%bs)
		host, err := im.allocate(off / bs)
		if err != nil {
			return 0, err
		}
		if _, err := im.file.WriteAt(rest[:n], host+off%bs); err != nil {
			return 0, err
		}
		rest, off = rest[n:], off+n
	}
	return len(p), nil
}

// allocate finds a block, adding it behind the end of the file if it is not present. What
// is new there reads as zeroes, so others may write to it at once.
func (im *Image) allocate(block int64) (int64, error) {
	im.mu.Lock()
	if im.bat.dirty >= maxDirtyPages {
		im.mu.Unlock()
		if err := im.commit(); err != nil {
			return 0, err
		}
		im.mu.Lock()
	}
	defer im.mu.Unlock()
	host, present, err := im.lookup(block)
	if err != nil || present {
		return host, err
	}
	host = (im.fileEnd + mib - 1) / mib * mib
	end := host + im.meta.blockSize
	if end > maxFileSize {
		return 0, blockdev.Errorf(blockdev.ErrNoSpace, "write", im.name, "VHDX file is full")
	}
	if err := grow(im.file, end); err != nil {
		return 0, err
	}
	im.fileEnd = end
	return host, im.bat.setPresent(block, host)
}

// WriteZeroes zeroes the blocks that are present; the others read as zeroes already.
func (im *Image) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	return im.eachPresent("write", off, n, func(host, n int64) error {
		return blockdev.WriteZeroes(im.file, host, n, flags)
	})
}

// Discard gives back what blocks take on the host; they stay present.
func (im *Image) Discard(off, n int64) error {
	return im.eachPresent("discard", off, n, func(host, n int64) error {
		if !im.unmap {
			return nil
		}
		return blockdev.Discard(im.file, host, n)
	})
}

// eachPresent changes the parts of a range that lie in the file.
func (im *Image) eachPresent(op string, off, n int64, do func(host, n int64) error) error {
	if err := blockdev.CheckRange(op, im, off, n); err != nil {
		return err
	}
	if err := im.checkWritable(op); err != nil {
		return err
	}
	for n > 0 {
		e, err := im.Map(off, n)
		if err != nil {
			return err
		}
		if e.Kind == blockdev.ExtentData {
			if err := im.touch(); err != nil {
				return err
			}
			if err := do(e.Host, e.Len); err != nil {
				return err
			}
		}
		off, n = off+e.Len, n-e.Len
	}
	return nil
}
