package bat

import (
	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/flat"
)

// Map says where guest bytes are.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", im, off, n); err != nil || n == 0 {
		return blockdev.Extent{}, err
	}
	im.mu.Lock()
	b, length, err := im.find(off, n)
	im.mu.Unlock()
	if err == nil && b.Kind == Unallocated {
		err = im.parent.Verify()
	}
	if err != nil {
		return blockdev.Extent{}, err
	}
	if b.Kind == Data && im.c.Fixed {
		return flat.Map(im.c.File, b.Host, length)
	}
	return im.extent(b, length), nil
}

// find tells how the bytes at off are stored, and how many, at most n, in the same way and
// behind each other. mu is held.
func (im *Image) find(off, n int64) (first Block, length int64, err error) {
	bs := im.c.BlockSize
	i, last := off/bs, (off+n-1)/bs
	in := off % bs
	var count int64 // blocks that go on as the first
	for i+count <= last {
		e, err := im.tables.lookup(i+count, last-i-count+1)
		if err != nil {
			return Block{}, 0, err
		}
		k := int64(0)
		for ; k < e.count; k++ {
			if e.table == nil && count+k > 0 && first.Kind == Unallocated {
				k = e.count // all of them are
				break
			}
			b, err := e.at(k)
			if err != nil {
				if count+k > 0 {
					break // whoever comes to it is told
				}
				return Block{}, 0, err
			}
			if count+k == 0 {
				first = b
			} else if !im.follows(first, b, count+k) {
				break
			}
		}
		count += k
		if k < e.count {
			break
		}
	}
	if first.Kind == Data {
		first.Host += in
	}
	return first, min(n, count*bs-in), nil
}

// follows tells if b, which is count blocks behind first, goes on as that began.
func (im *Image) follows(first, b Block, count int64) bool {
	switch {
	case b.Kind != first.Kind || b.Kind == Compressed:
		return false
	case b.Kind == Data:
		return im.c.Prefix == 0 && b.Host == first.Host+count*im.c.BlockSize
	}
	return true
}

func (im *Image) extent(b Block, n int64) blockdev.Extent {
	e := blockdev.Extent{Len: n}
	switch b.Kind {
	case Zero:
		e.Kind = blockdev.ExtentZero
	case Unallocated:
		e.Kind = blockdev.ExtentUnallocated
	case Data:
		e.Kind, e.Node, e.Host = blockdev.ExtentData, im.c.File, b.Host
		if im.c.Cipher != nil {
			e.Kind, e.Node, e.Host = blockdev.ExtentOpaque, nil, 0
		}
	case Compressed:
		e.Kind, e.Node, e.Host, e.Compressed = blockdev.ExtentOpaque, im.c.File, b.Host, true
	}
	return e
}

// ReadAt reads guest bytes.
func (im *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", im, off, int64(len(p))); err != nil {
		return 0, err
	}
	if err := im.read(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadOpaque reads bytes of compressed or encrypted blocks.
func (im *Image) ReadOpaque(p []byte, off int64) error {
	_, err := im.ReadAt(p, off)
	return err
}

// read fills p. What is past the end of the disk reads as zeroes.
func (im *Image) read(p []byte, off int64) error {
	inside := max(0, min(int64(len(p)), im.Size()-off))
	clear(p[inside:])
	p = p[:inside]
	for len(p) > 0 {
		im.mu.Lock()
		b, n, err := im.find(off, int64(len(p)))
		im.mu.Unlock()
		if err == nil {
			err = im.readBlock(p[:n], b, off)
		}
		if err != nil {
			return err
		}
		p, off = p[n:], off+n
	}
	return nil
}

func (im *Image) readBlock(p []byte, b Block, off int64) error {
	switch b.Kind {
	case Data:
		im.raise(blockdev.EventReadAIO)
		if im.c.Cipher != nil {
			return im.readSealed(p, b.Host, off)
		}
		return blockdev.ReadPadded(im.c.File, p, b.Host)
	case Compressed:
		in := off % im.c.BlockSize
		whole := make([]byte, im.c.BlockSize)
		im.raise(blockdev.EventReadCompressed)
		if err := im.c.Hooks.Unpack(b, whole); err != nil {
			return err
		}
		copy(p, whole[in:])
		return nil
	case Unallocated:
		if err := im.parent.Verify(); err != nil {
			return err
		}
		if below := im.parent.Backing(); below != nil {
			im.raise(blockdev.EventReadBackingAIO)
			return blockdev.ReadPadded(below, p, off)
		}
	}
	clear(p)
	return nil
}
