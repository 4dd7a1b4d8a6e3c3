// Package readonly is what image formats that are only read have in common: everything of
// a [blockdev.Node] but where the guest's bytes come from.
//
//	Image --> Source.ReadGuest   a range inside the disk
//	             |
//	           Blocks            unpacks whole blocks, and keeps the last ones
package readonly

import "github.com/qmon/qmon/blockdev"

// Source is a format's own part.
type Source interface {
	// ReadGuest fills p with guest bytes. The range is inside the disk, and not empty.
	ReadGuest(p []byte, off int64) error
}

// Image is a node that cannot be written. Formats embed it.
type Image struct {
	Name string
	File blockdev.Node

	size       int64
	compressed bool
	source     Source
}

var (
	_ blockdev.Node         = (*Image)(nil)
	_ blockdev.OpaqueReader = (*Image)(nil)
	_ blockdev.Informer     = (*Image)(nil)
)

// CheckMode refuses to open for writing, unless falling back is allowed.
func CheckMode(r blockdev.OpenRequest) error {
	if r.Mode.Writable && !r.Mode.AutoReadOnly {
		return blockdev.Errorf(blockdev.ErrReadOnly, "open", r.Filename, "Image is read-only")
	}
	return nil
}

// New is an image of size bytes that reads from s. Compressed says how Map calls its bytes.
func New(r blockdev.OpenRequest, size int64, compressed bool, s Source) Image {
	return Image{Name: r.Filename, File: r.File, size: size, compressed: compressed, source: s}
}

// Size is the size of the disk.
func (im *Image) Size() int64 { return im.size }

// Writable is false: an image opened for writing has fallen back.
func (im *Image) Writable() bool { return false }

// ReadAt reads guest bytes.
func (im *Image) ReadAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("read", im, off, int64(len(p))); err != nil || len(p) == 0 {
		return 0, err
	}
	if err := im.source.ReadGuest(p, off); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadOpaque reads guest bytes.
func (im *Image) ReadOpaque(p []byte, off int64) error {
	_, err := im.ReadAt(p, off)
	return err
}

// WriteAt fails.
func (im *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := blockdev.CheckRange("write", im, off, int64(len(p))); err != nil {
		return 0, err
	}
	return 0, blockdev.Errorf(blockdev.ErrReadOnly, "write", im.Name, "Block node is read-only")
}

// Map says of all bytes that the driver has to be asked, as QEMU does for these formats.
func (im *Image) Map(off, n int64) (blockdev.Extent, error) {
	if err := blockdev.CheckRange("map", im, off, n); err != nil {
		return blockdev.Extent{}, err
	}
	return blockdev.Extent{Kind: blockdev.ExtentOpaque, Len: n, Compressed: im.compressed}, nil
}

// Info has nothing to tell.
func (im *Image) Info() (blockdev.ImageInfo, error) {
	return blockdev.ImageInfo{}, blockdev.Errorf(blockdev.ErrNotSupported, "info", im.Name, "Operation not supported")
}

// Flush has nothing to do.
func (im *Image) Flush() error { return nil }

// Close has nothing to do: the file belongs to the graph.
func (im *Image) Close() error { return nil }

// Corrupt makes an error about the image's contents.
func (im *Image) Corrupt(off int64, format string, args ...any) error {
	return blockdev.ErrorAt(blockdev.ErrCorrupt, "read", im.Name, off, format, args...)
}

// ReadPadded reads from a file that may end early: what is missing is zero.
func ReadPadded(file blockdev.Node, p []byte, off int64) error {
	n := int(max(0, min(int64(len(p)), file.Size()-off)))
	clear(p[n:])
	if n == 0 {
		return nil
	}
	_, err := file.ReadAt(p[:n], off)
	return err
}
