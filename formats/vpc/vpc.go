package vpc

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"time"

	"github.com/qmon/qmon/blockdev"
)

func init() {
	blockdev.Register(blockdev.Driver{
		Name: "vpc", Probe: probe,
		OpenOptions: openOptions, CreateOptions: createOptions,
		Open: Open, Create: Create,
	})
}

// probe knows an image by the footer's copy at its beginning, which fixed images have not.
func probe(head []byte, _ string) int {
	if len(head) >= len(footerCookie) && string(head[:len(footerCookie)]) == footerCookie {
		return 100
	}
	return 0
}

// Values of the option that says how large the disk is.
const (
	sizeByGeometry = "chs"
	sizeByField    = "current_size"
	sizeLikeQEMU10 = "qemu-10"
)

var openOptions = blockdev.OptionTable{
	{Name: "force_size_calc", Type: blockdev.OptString, Help: "Force disk size calculation to use either CHS geometry, " +
		"or use the disk current_size specified in the VHD footer, or QEMU 10's choice. {chs, current_size, qemu-10}"},
}

// Kinds of image that can be created.
const (
	subformatDynamic = "dynamic"
	subformatFixed   = "fixed"
)

var createOptions = blockdev.OptionTable{
	{Name: "size", Type: blockdev.OptSize, Help: "Virtual disk size"},
	{Name: "subformat", Type: blockdev.OptString, Help: "Type of virtual hard disk format. Supported formats are {dynamic (default) | fixed} "},
	{Name: "force_size", Type: blockdev.OptBool, Help: "Force disk size calculation to use the actual size specified, rather than using the nearest CHS-based calculation"},
}

// Open opens the image in r.File.
func Open(ctx context.Context, r blockdev.OpenRequest) (blockdev.Node, error) {
	rule, _ := r.Options["force_size_calc"].(string)
	switch rule {
	case "", sizeByGeometry, sizeByField, sizeLikeQEMU10:
	default:
		return nil, blockdev.Errorf(blockdev.ErrInvalid, "open", r.Filename, "Invalid size calculation mode: '%s'", rule)
	}
	f, err := readFooter(r.File, r.Filename)
	if err != nil {
		return nil, err
	}
	size, err := f.size(rule, r.Filename)
	if err != nil {
		return nil, err
	}
	switch f.kind {
	case typeFixed:
		return blockdev.AsNode(openFixed(r, f, size))
	case typeDynamic:
		return blockdev.AsNode(openDynamic(ctx, r, f, size))
	case typeDifferencing:
		return blockdev.AsNode(openDifferencing(ctx, r, f, size))
	}
	return nil, blockdev.Errorf(blockdev.ErrNotSupported, "open", r.Filename, "VHD images of type %d are not supported", f.kind)
}

// Create writes a new image. Unless force_size is given its size is that of the next
// geometry, which is what old guests see of it.
func Create(_ context.Context, r blockdev.CreateRequest) error {
	subformat, _ := r.Options["subformat"].(string)
	force, _ := r.Options["force_size"].(bool)
	switch {
	case subformat != "" && subformat != subformatDynamic && subformat != subformatFixed:
		return blockdev.Errorf(blockdev.ErrInvalid, "create", r.Filename, "Parameter 'subformat' does not accept value '%s'", subformat)
	case r.Backing.Name != "":
		return blockdev.Errorf(blockdev.ErrNotSupported, "create", r.Filename, "Backing file not supported for file format 'vpc'")
	}
	sectors := r.Size/sectorSize + min(1, r.Size%sectorSize)
	g, creator := maxGeometry, creatorQEMU2
	if !force {
		g, creator = chsFor(sectors), creatorQEMU
		if g != maxGeometry {
			sectors = g.total()
		}
	}
	size := sectors * sectorSize
	if r.Size < 0 || size > maxSize {
		return blockdev.Errorf(blockdev.ErrLimit, "create", r.Filename, "The image size is too large for file format 'vpc'")
	}
	var id uuid
	_, _ = rand.Read(id[:]) // it never fails
	// A UUID of version 4, which is made of random bits.
	id[6], id[8] = id[6]&0x0f|0x40, id[8]&0x3f|0x80
	kind := uint32(typeDynamic)
	if subformat == subformatFixed {
		kind = typeFixed
	}
	footer := newFooter(kind, size, g, creator, id, time.Now())
	if kind == typeFixed {
		return createFixed(r.File, footer, size)
	}
	return createDynamic(r.File, footer, size)
}

func createFixed(file blockdev.Node, footer []byte, size int64) error {
	if err := blockdev.Resize(file, size+footerBytes, blockdev.ResizeOptions{}); err != nil {
		return err
	}
	_, err := file.WriteAt(footer, size)
	return err
}

// tableBuffer is how much of a new table is made at once, bytes.
const tableBuffer = 1 << 20

// createDynamic writes the footer's copy, the header, a table without blocks, the footer.
func createDynamic(file blockdev.Node, footer []byte, size int64) error {
	h := dynamicHeader{table: footerBytes + headerBytes, blockSize: defaultBlockSize}
	h.entries = (size + defaultBlockSize - 1) / defaultBlockSize
	if _, err := file.WriteAt(append(append([]byte(nil), footer...), h.encode()...), 0); err != nil {
		return err
	}
	unused := bytes.Repeat([]byte{0xff}, int(min(tableBuffer, h.tableEnd()-h.table)))
	for off := h.table; off < h.tableEnd(); off += int64(len(unused)) {
		if _, err := file.WriteAt(unused[:min(int64(len(unused)), h.tableEnd()-off)], off); err != nil {
			return err
		}
	}
	_, err := file.WriteAt(footer, h.tableEnd())
	return err
}

// encode makes the header of a new image.
func (h *dynamicHeader) encode() []byte {
	b := make([]byte, headerBytes)
	be := binary.BigEndian
	copy(b, headerCookie)
	be.PutUint64(b[len(headerCookie):], noDataOffset)
	be.PutUint64(b[offTableOffset:], uint64(h.table))
	be.PutUint32(b[offHeaderVersion:], version1)
	be.PutUint32(b[offEntries:], uint32(h.entries))
	be.PutUint32(b[offBlockSize:], uint32(h.blockSize))
	be.PutUint32(b[offHeaderChecksum:], checksum(b, offHeaderChecksum))
	return b
}
