// Package readonly is what image formats that are only read have in common.
//
//	format's Image --embeds--> Image     size, refusals
//	      |
//	      +--> Blocks                    unpacks whole blocks, and keeps the last ones
package readonly

import "github.com/qmon/qmon/blockdev"

// Image is a node that cannot be written. Formats embed it and add ReadAt and Map.
type Image struct {
	Name string
	File blockdev.Node
	size int64
}

// CheckMode refuses to open for writing, unless falling back is allowed.
func CheckMode(r blockdev.OpenRequest) error {
	if r.Mode.Writable && !r.Mode.AutoReadOnly {
		return blockdev.Errorf(blockdev.ErrReadOnly, "open", r.Filename, "Image is read-only")
	}
	return nil
}

// New is an image of size bytes.
func New(r blockdev.OpenRequest, size int64) Image {
	return Image{Name: r.Filename, File: r.File, size: size}
}

// Size is the size of the disk.
func (im *Image) Size() int64 { return im.size }

// Writable is false: an image opened for writing has fallen back.
func (im *Image) Writable() bool { return false }

// CheckRange fails with ErrRange if the range is not inside the disk.
func (im *Image) CheckRange(op string, off, n int64) error {
	if off < 0 || n < 0 || off > im.size || n > im.size-off {
		return blockdev.ErrorAt(blockdev.ErrRange, op, im.Name, off, "%d bytes do not fit in %d", n, im.size)
	}
	return nil
}

// WriteAt fails.
func (im *Image) WriteAt(p []byte, off int64) (int, error) {
	if err := im.CheckRange("write", off, int64(len(p))); err != nil {
		return 0, err
	}
	return 0, blockdev.Errorf(blockdev.ErrReadOnly, "write", im.Name, "Block node is read-only")
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
