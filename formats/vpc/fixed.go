package vpc

import (
	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/flat"
)

// fixed is an opened fixed image: the disk, and a footer behind it.
type fixed struct {
	name string
	file blockdev.Node
	size int64
	id   uuid
}

var (
	_ blockdev.Node       = (*fixed)(nil)
	_ blockdev.ZeroWriter = (*fixed)(nil)
	_ blockdev.Discarder  = (*fixed)(nil)
	_ blockdev.Informer   = (*fixed)(nil)
	_ blockdev.Reopener   = (*fixed)(nil)
)

// openFixed opens an image without a table. One that is shorter than its footer says reads
// as zeroes at the end, and is not written: the footer would be in the way.
func openFixed(r blockdev.OpenRequest, f *footer, size int64) (*fixed, error) {
	if r.Mode.Writable && size > r.File.Size()-footerBytes {
		return nil, blockdev.Errorf(blockdev.ErrCorrupt, "open", r.Filename,
			"the footer's disk of %d bytes is not in the file of %d", size, r.File.Size())
	}
	return &fixed{name: r.Filename, file: r.File, size: size, id: f.id()}, nil
}

func (im *fixed) Size() int64 { return im.size }

// stored is how many of n bytes at off are in the file, before the footer.
func (im *fixed) stored(off, n int64) int64 {
	return max(0, min(n, im.file.Size()-footerBytes-off))
}

func (im *fixed) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", im, off, int64(len(p))); err != nil {
		return 0, err
	}
	n := im.stored(off, int64(len(p)))
	if n > 0 {
		if _, err := im.file.ReadAt(p[:n], off); err != nil {
			return 0, err
		}
	}
	clear(p[n:])
	return len(p), nil
}

func (im *fixed) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("write", im, off, int64(len(p))); err != nil {
		return 0, err
	}
	return im.file.WriteAt(p, off)
}

// Map passes on what the file says.
func (im *fixed) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", im, off, n); err != nil || n == 0 {
		return blockdev.Extent{}, err
	}
	stored := im.stored(off, n)
	if stored == 0 {
		return blockdev.Extent{Kind: blockdev.ExtentZero, Len: n}, nil
	}
	return flat.Map(im.file, off, stored)
}

func (im *fixed) WriteZeroes(off, n int64, flags blockdev.ZeroFlags) error {
	if err := blockdev.CheckRange("write", im, off, n); err != nil {
		return err
	}
	return blockdev.WriteZeroes(im.file, off, n, flags)
}

func (im *fixed) Discard(off, n int64) error {
	if err := blockdev.CheckRange("discard", im, off, n); err != nil {
		return err
	}
	return blockdev.Discard(im.file, off, im.stored(off, n))
}

// Info has nothing to tell: there are no clusters.
func (im *fixed) Info() (blockdev.ImageInfo, error) { return blockdev.ImageInfo{}, nil }

// ReopenWritable has nothing to do: the file is what is writable or not.
func (im *fixed) ReopenWritable(writable bool) error {
	if writable && im.size > im.file.Size()-footerBytes {
		return blockdev.Errorf(blockdev.ErrCorrupt, "open", im.name, "the disk is not in the file")
	}
	return nil
}

func (im *fixed) Flush() error { return im.file.Flush() }

func (im *fixed) Close() error { return im.Flush() }
