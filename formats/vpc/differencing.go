package vpc

import (
	"context"
	"encoding/binary"
	"sync"
	"unicode/utf16"

	"github.com/qmon/qmon/blockdev"
	"github.com/qmon/qmon/formats/internal/bat"
	"github.com/qmon/qmon/formats/internal/parent"
)

// Platform codes of parent locators, "Dynamic Disk Header Format", and their fields.
const (
	locatorRelative = "W2ru" // UTF-16, little-endian, relative to the image
	locatorAbsolute = "W2ku"
	locatorBytes    = 24
	locators        = 8
	offLocatorSize  = 8 // of the name, bytes
	offLocatorData  = 16
)

// maxParentName bounds a locator's name, bytes: the longest path that Windows takes.
const maxParentName = 64 << 10

// differencing is an opened image that has only what differs from its parent.
type differencing struct {
	bat.Overlay
	image  *Image
	parent string

	mu     sync.Mutex
	place  int64  // of the block whose bitmap is
	bitmap []byte // in memory; nil for none
}

var (
	_ blockdev.Node   = (*differencing)(nil)
	_ blockdev.Backed = (*differencing)(nil)
)

func openDifferencing(ctx context.Context, r blockdev.OpenRequest, f *footer, size int64) (*differencing, error) {
	if r.Mode.Writable && !r.Mode.AutoReadOnly {
		return nil, blockdev.Errorf(blockdev.ErrReadOnly, "open", r.Filename, "differencing VHD images can only be read")
	}
	r.Mode.Writable = false
	image, err := openDynamic(ctx, r, f, size)
	if err != nil {
		return nil, err
	}
	im := &differencing{Overlay: bat.Overlay{Image: image.Image}, image: image}
	im.RefersBacking(true)
	im.parent, err = image.header.parentName(r.File)
	return im, err
}

// isParent fails if n is not the disk whose identifier the header names.
func (im *Image) isParent(n blockdev.Node) error {
	var id uuid
	switch p := n.(type) {
	case *fixed:
		id = p.id
	case *Image:
		id = p.footer.id()
	case *differencing:
		id = p.image.footer.id()
	}
	if want := uuid(im.header.raw[offParentUUID:]); id != want {
		return blockdev.Errorf(blockdev.ErrInvalid, "read", im.name, "the parent is not the disk with the identifier %x", want)
	}
	return nil
}

// parentName is the name of the parent's file, from the locators or the name beside them.
func (h *dynamicHeader) parentName(file blockdev.Node) (string, error) {
	names := map[string]string{}
	for i := range locators {
		b := h.raw[offLocators+i*locatorBytes:]
		n, off := binary.BigEndian.Uint32(b[offLocatorSize:]), binary.BigEndian.Uint64(b[offLocatorData:])
		code := string(b[:4])
		if code != locatorRelative && code != locatorAbsolute || n == 0 || n > maxParentName || off > uint64(file.Size())-min(uint64(n), uint64(file.Size())) {
			continue
		}
		name := make([]byte, n)
		if _, err := file.ReadAt(name, int64(off)); err != nil {
			return "", err
		}
		names[code] = decodeUTF16(name, binary.LittleEndian)
	}
	own := decodeUTF16(h.raw[offParentName:offParentName+parentNameBytes], binary.BigEndian)
	return parent.WindowsName(names[locatorRelative], names[locatorAbsolute], own), nil
}

// decodeUTF16 decodes a name up to the first NUL.
func decodeUTF16(b []byte, order binary.ByteOrder) string {
	var u []uint16
	for ; len(b) >= 2; b = b[2:] {
		c := order.Uint16(b)
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return string(utf16.Decode(u))
}

// BackingReference is what the header says of the parent.
func (im *differencing) BackingReference() blockdev.Reference {
	if im.parent == "" {
		return blockdev.Reference{}
	}
	return blockdev.Reference{Kind: blockdev.RefBacking, Parent: im.image.name, Name: im.parent, Format: "vpc"}
}

// ChangeBackingReference is not possible: the image cannot be written.
func (im *differencing) ChangeBackingReference(string, string) error {
	return blockdev.Errorf(blockdev.ErrReadOnly, "write", im.image.name, "differencing VHD images can only be read")
}

// ReopenWritable fails for the same reason.
func (im *differencing) ReopenWritable(writable bool) error {
	if !writable {
		return nil
	}
	return im.ChangeBackingReference("", "")
}

// Info is the image's.
func (im *differencing) Info() (blockdev.ImageInfo, error) { return im.image.Info() }

// Map goes by the bitmaps: a sector without its bit is in the parent.
func (im *differencing) Map(off, n int64) (blockdev.Extent, error) {
	e, err := im.Overlay.Map(off, n)
	if err != nil || e.Kind != blockdev.ExtentData {
		return e, err
	}
	in := off % im.BlockSize()
	im.mu.Lock()
	defer im.mu.Unlock()
	if err := im.loadBitmap(e.Host - in); err != nil {
		return blockdev.Extent{}, err
	}
	here := im.has(in)
	length := sectorSize - in%sectorSize
	for length < e.Len && im.has(in+length) == here {
		length += sectorSize
	}
	e.Len = min(e.Len, length)
	if !here {
		if err := im.VerifyParent(); err != nil {
			return blockdev.Extent{}, err
		}
		e = blockdev.Extent{Kind: blockdev.ExtentUnallocated, Len: e.Len}
	}
	return e, nil
}

// has tells if the block whose bitmap is loaded has the sector at in: the highest bit is
// the first sector's.
func (im *differencing) has(in int64) bool {
	sector := in / sectorSize
	return im.bitmap[sector/8]&(0x80>>(sector%8)) != 0
}

// loadBitmap reads the bitmap of the block whose data is at host. mu is held.
func (im *differencing) loadBitmap(host int64) error {
	if im.bitmap != nil && im.place == host {
		return nil
	}
	b := make([]byte, im.image.header.bitmapBytes())
	if _, err := im.image.file.ReadAt(b, host-int64(len(b))); err != nil {
		return err
	}
	im.bitmap, im.place = b, host
	return nil
}

// ReadAt reads by Map.
func (im *differencing) ReadAt(p []byte, off int64) (int, error) { return blockdev.Read(im, p, off) }
